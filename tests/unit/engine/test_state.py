"""The file that connections outlive an engine in: who counts as one that died of reading it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.keeper import Keeper
from lvsd.engine.state import State
from lvsd.io.state_file import TRIES, StateFile
from lvsd.running.complaints import Complaints
from lvsd.turns import Turns
from tests.unit.core.world import World

if TYPE_CHECKING:
    from pathlib import Path


def opened(path: Path) -> State:
    """Return the state of an engine that has opened the file."""
    state = State(str(path), Balancer(make_scheduler), Turns(), Complaints(time.monotonic))
    state.open()
    return state


def why_empty(path: Path) -> str:
    """Return why the next one that opens the file begins with nothing."""
    file = StateFile.open(path)
    try:
        return file.why_empty
    finally:
        file.close()


def test_an_engine_that_ends_in_order_while_it_reads_did_not_die_of_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    StateFile.open(path).close()
    for _ in range(TRIES + 1):
        state = opened(path)
        next(state.resuming())
        state.close()
    assert "ended while they read it" not in why_empty(path)


def test_a_stop_while_it_is_read_leaves_it_to_the_next_engine(tmp_path: Path) -> None:
    state = opened(tmp_path / "state")
    reading = state.resuming()
    next(reading)
    assert state.finish()
    state.close()


def test_without_a_file_a_stop_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = opened(tmp_path / "state")
    list(state.resuming())
    assert not state.finish()
    state.close()


def test_engines_that_fail_at_reading_it_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    StateFile.open(path).close()

    def fail(*_: object) -> None:
        raise RuntimeError("it cannot be read")

    monkeypatch.setattr("lvsd.core.resuming.Resumption.steps", fail)
    for _ in range(TRIES):
        state = opened(path)
        with pytest.raises(RuntimeError):
            list(state.resuming())
        state.close()
    assert "ended while they read it" in why_empty(path)


def test_what_is_pending_is_taken_in_by_and_by(tmp_path: Path) -> None:
    path = tmp_path / "state"
    world, later = World(), World()
    file = StateFile.open(path)
    file.begin_reading()
    for each in (world, later):
        each.serve()
    world.balancer.flows.observers.add(Keeper(world.balancer.flows, world.balancer.services, file))
    for client in range(1, 30):
        world.establish(client=client)
    file.close()
    table = later.balancer.flows.table

    async def scenario() -> None:
        state = State(str(path), later.balancer, Turns(), Complaints(time.monotonic))
        state.open()
        for _ in state.resuming():
            pass
        assert table.pending is not None
        await state.all_taken_in()
        state.close()

    asyncio.run(scenario())
    assert table.pending is None
    assert len(list(table)) == 29
