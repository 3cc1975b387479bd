"""The state of a world in memory, and a second world that goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.keeper import Keeper
from lvsd.core.resuming import Resumption
from lvsd.core.snapshot import SLOT

if TYPE_CHECKING:
    from tests.unit.core.world import World

ROOM = 512


class Slots:
    """Slots in a buffer, of which the first is never given: 0 says that there is none."""

    def __init__(self, room: int = ROOM) -> None:
        self.buffer = bytearray(SLOT * (room + 1))
        self.free = [SLOT * number for number in range(room, 0, -1)]

    def take(self) -> int:
        """Return where a free slot begins, or 0."""
        return self.free.pop() if self.free else 0

    def give_back(self, at: int) -> None:
        """Let a slot be free again."""
        assert at not in self.free
        assert self.buffer[at] == 0
        self.free.append(at)

    def taking_in(self, at: int) -> None:
        """Nobody ends over a record here."""

    def records(self) -> dict[int, list[int]]:
        """Return by kind where there is something."""
        found: dict[int, list[int]] = {}
        for at in range(SLOT, len(self.buffer), SLOT):
            if self.buffer[at]:
                found.setdefault(self.buffer[at], []).append(at)
        return found


def keep(world: World, slots: Slots) -> Keeper:
    """Have a world written down from now on."""
    keeper = Keeper(world.balancer.flows, world.balancer.services, slots)
    world.balancer.flows.observers.add(keeper)
    return keeper


def write_the_rest(keeper: Keeper) -> None:
    """Write down what an ordinary stop writes."""
    for steps in (keeper.keeping(), keeper.keeping_memories()):
        for _ in steps:
            pass


def resume(world: World, slots: Slots) -> tuple[Resumption, Keeper]:
    """Have a world go on with what is written, and write on; nothing is pending."""
    resumption, keeper = begin_to_resume(world, slots)
    for _ in resumption.rest():
        pass
    return resumption, keeper


def begin_to_resume(world: World, slots: Slots) -> tuple[Resumption, Keeper]:
    """Have a world go on with what is written, up to where it takes packets, and write on."""
    keeper = Keeper(world.balancer.flows, world.balancer.services, slots)
    resumption = Resumption(world.balancer, keeper, slots)
    records = slots.records()
    slots.free = [at for at in slots.free if not slots.buffer[at]]
    for _ in resumption.steps(records, world.now):
        pass
    world.balancer.flows.observers.add(keeper)
    return resumption, keeper
