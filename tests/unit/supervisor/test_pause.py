"""Which ends leave connections for the next start, and which are for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.io.state_file import state_path
from lvsd.supervisor.pause import Pause

if TYPE_CHECKING:
    from pathlib import Path


class Ends:
    """What diverts and the engine, as a pause sees them."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.kept: list[bool] = []

    def down(self, hold_s: int) -> bool:
        """Stop to divert."""
        self.held.append(hold_s)
        return bool(hold_s)

    async def stop(self, *, keep: bool) -> None:
        """End the engine."""
        self.kept.append(keep)


@pytest.fixture
def ends() -> Ends:
    return Ends()


def ended(ends: Ends, directory: Path, how: str, hold_s: int = 10) -> tuple[int, bool, bool]:
    """End in one way; return how long packets are held, and whether state is kept and there."""
    there: Any = ends
    pause = Pause(hold_s, there, there)
    pause.begin(directory)
    if how != "a start that fails":
        pause.ready()
    if how == "a stop":
        pause.comes(was_ready=True)
    pause.stop_diverting()
    asyncio.run(pause.end_engine())
    return ends.held[-1], ends.kept[-1], state_path(directory).exists()


@pytest.mark.parametrize("was_left", [False, True])
def test_a_start_that_fails_leaves_what_it_found(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, was_left: bool
) -> None:
    monkeypatch.setattr("lvsd.io.leftovers.are_held", lambda: was_left)
    if was_left:
        state_path(tmp_path).touch()
    found = ended(ends, tmp_path, "a start that fails")
    assert found == (10 if was_left else 0, was_left, was_left)


def test_an_upgrade_that_fails_leaves_connections_and_holds_their_packets(
    ends: Ends, tmp_path: Path
) -> None:
    there: Any = ends
    state_path(tmp_path).touch()
    pause = Pause(10, there, there)
    pause.go_on(tmp_path)
    pause.stop_diverting()
    asyncio.run(pause.end_engine())
    assert (ends.held, ends.kept, state_path(tmp_path).exists()) == ([10], [True], True)


def test_a_stop_keeps_and_an_error_does_not(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvsd.io.leftovers.are_held", lambda: False)
    state_path(tmp_path).touch()
    assert ended(ends, tmp_path, "a stop") == (10, True, True)
    assert ended(ends, tmp_path, "an error") == (0, False, False)


def test_without_a_hold_a_stop_is_for_good(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvsd.io.leftovers.are_held", lambda: True)
    state_path(tmp_path).touch()
    assert ended(ends, tmp_path, "a stop", hold_s=0) == (0, False, False)
