"""Work that can wait, however much of it there is, leaves the event loop to packets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from time import perf_counter

import pytest
import uvloop

from lvsd.turns import BESIDE_S, SLICE_S, Turns


class Packets:
    """Packets that come in every turn of the event loop, and what is done between them."""

    def __init__(self) -> None:
        self.handled = 0
        self.since_work: list[int] = []
        self.ended = False

    def turn(self) -> None:
        """Handle some packets, and be there again in the next turn."""
        self.handled += 1
        if not self.ended:
            asyncio.get_running_loop().call_soon(self.turn)


def _work_until(deadline: float) -> None:
    while perf_counter() < deadline:
        pass


@pytest.mark.parametrize("clients", [1, 32])
def test_packets_have_many_turns_between_two_slices_however_many_clients_there_are(
    clients: int,
) -> None:
    packets = Packets()
    turns = Turns(lambda: packets.handled)
    before: list[int] = []

    async def client() -> None:
        while len(before) < 40:
            async with turns.slice() as deadline:
                before.append(packets.handled)
                _work_until(deadline)

    async def scenario() -> None:
        packets.turn()
        await asyncio.gather(*(client() for _ in range(clients)))
        packets.ended = True

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    between = [later - earlier for earlier, later in pairwise(before)]
    assert min(between) > 2
    assert sum(between) / len(between) > 10


def test_without_packets_work_goes_on_after_two_looks() -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        return 0

    async def scenario() -> None:
        turns = Turns(look)
        for _ in range(100):
            async with turns.slice() as deadline:
                _work_until(deadline)
        assert len(looks) == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_what_fails_in_a_slice_gives_way_all_the_same() -> None:
    packets = Packets()
    turns = Turns(lambda: packets.handled)

    async def scenario() -> int:
        packets.turn()
        before = packets.handled
        with suppress(ValueError):
            async with turns.slice() as deadline:
                _work_until(deadline)
                raise ValueError("wrong")
        packets.ended = True
        return packets.handled - before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) > 2


def test_who_asks_meanwhile_whether_packets_come_takes_no_turn_from_them() -> None:
    packets = Packets()
    turns = Turns(lambda: packets.handled)

    async def scenario() -> int:
        packets.turn()
        async with turns.slice() as deadline:
            _work_until(deadline)
            before = packets.handled
            asyncio.get_running_loop().call_soon(lambda: turns.is_beside(perf_counter()))
            asyncio.get_running_loop().call_later(0, lambda: turns.is_beside(perf_counter()))
        packets.ended = True
        return packets.handled - before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) > 2


def test_slices_are_short_while_packets_come_and_for_a_while_after_that() -> None:
    packets = 0
    clock = 100.0

    async def lengths(*times: float) -> list[float]:
        found = []
        for at in times:
            nonlocal clock
            clock = at
            async with turns.slice() as deadline:
                found.append(round(deadline - clock, 6))
        return found

    async def scenario() -> None:
        nonlocal packets
        assert await lengths(100.0, 101.0) == [SLICE_S, SLICE_S]
        packets += 1
        assert await lengths(102.0, 102.05) == [BESIDE_S, BESIDE_S]
        packets += 1
        assert await lengths(102.14, 102.2, 103.0) == [BESIDE_S, BESIDE_S, SLICE_S]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lvsd.turns.perf_counter", lambda: clock)
        turns = Turns(lambda: packets)
        asyncio.run(scenario())
