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
from lvsd.errors import KernelError
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


def read(state: State) -> None:
    """Have an engine read what there is."""

    async def scenario() -> None:
        list(state.resuming())
        await state.all_taken_in()

    asyncio.run(scenario())


def test_what_found_no_room_is_counted_and_written_down_once_there_is_some(
    tmp_path: Path, full: list[bool]
) -> None:
    world = World()
    world.serve()
    state = State(str(tmp_path / "state"), world.balancer, Turns(), Complaints(time.monotonic))
    state.open()
    read(state)
    table = world.balancer.flows.table
    full[0] = True
    assert state._file is not None
    del state._file._free[10:]
    for client in range(1, 31):
        world.establish(client=client)
    assert table.count == 30
    assert state.unkept(30) == len([each for each in table if not each.kept]) > 19
    with pytest.raises(KernelError, match="No space left"):
        state._keep_room()
    full[0] = False
    state._keep_room()
    for _ in state._steps():
        pass
    assert state.unkept(30) == 0
    assert [each for each in table if not each.kept] == []
    state.close()


def test_a_file_that_somebody_removed_keeps_none(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = opened(path)
    read(state)
    assert state.unkept(3) == 0
    path.unlink()
    assert (state.unkept(3), state.unkept(0)) == (3, 0)
    with pytest.raises(KernelError, match="somebody removed it"):
        state._keep_room()
    state.close()


def test_without_a_file_none_is_kept(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = opened(tmp_path / "state")
    read(state)
    assert state.unkept(3) == 3
    state.close()


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
