"""A signal that comes while a real server is made, or put back, leaves nothing half done."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.realserver import cli, up
from lvsd.realserver.toa import run
from lvsd.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Handle signals as by default: who runs the tests may have them ignored, such as nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Machine:
    """A machine that only says that it was put back."""

    restored: bool

    def __init__(self, *_: object) -> None:
        type(self).restored = False

    def restore(self) -> list[str]:
        """Take a signal half way through."""
        signal.raise_signal(signal.SIGTERM)
        type(self).restored = True
        return []


@pytest.mark.parametrize("number", NUMBERS)
def test_up_puts_back_what_was_set_when_it_is_told_to_end(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "Machine", Machine)
    monkeypatch.setattr(up, "_up", lambda *_: signal.raise_signal(number))

    status = cli.main(["up", "--mode", "dr", "--vip", "192.0.2.1", "--state", str(tmp_path)])

    assert Machine.restored
    assert status in {128 + number, 128 + signal.SIGTERM}
    assert all(signal.getsignal(each) == signal.SIG_DFL for each in NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_program_with_toa_that_was_not_started_yet_leaves_no_cgroup(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []

    @contextmanager
    def made(_tree: object, name: str) -> Iterator[None]:
        try:
            yield
        finally:
            removed.append(name)

    class Reader:
        def up(self, *_: object) -> None:
            signal.raise_signal(number)

    monkeypatch.setattr(run, "_made", made)
    monkeypatch.setattr(run, "own_name", lambda: "/")
    reader: Any = Reader()
    tree: Any = None

    with pytest.raises(Terminated) as ended:
        run.run(tree, reader, frozenset(), reader, ["true"])

    assert ended.value.exit_status == 128 + number
    assert len(removed) == 1
