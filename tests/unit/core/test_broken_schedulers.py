"""A third party's scheduler that raises costs its own service some balance, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.core.world import FirstAdded, World

if TYPE_CHECKING:
    from schedulers.base import Server


class Broken(FirstAdded):
    """Picks, but raises whenever it is told something."""

    def changed(self, server: Server) -> None:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("changed")

    def tick(self, now: float) -> None:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("tick")


class Listening(FirstAdded):
    """Notes when it is told to do its periodic work."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        """Note the time."""
        self.ticks.append(now)


def test_connections_of_a_broken_scheduler_end_and_are_counted() -> None:
    world = World()
    service = world.serve(scheduler=Broken())
    world.establish()
    world.wait(1000)
    assert (world.states(), service.servers[0].total) == ([], 0)


def test_what_a_scheduler_raised_is_kept_for_the_log() -> None:
    world = World()
    service = world.serve(scheduler=Broken())
    assert service.fault is None
    world.establish()
    assert str(service.fault) == "changed"
    world.tick()
    assert str(service.fault) == "tick"


def test_a_broken_scheduler_does_not_hold_up_other_services() -> None:
    world = World()
    world.serve(scheduler=Broken())
    listening = Listening()
    world.serve(vip=2, scheduler=listening)
    world.tick()
    assert listening.ticks == [world.director.now]
