"""A virtual address is where it belongs, or it is said why not; nobody fights over it for ever."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.io import links
from lvsd.io.links import LinkState
from lvsd.packet.address import pack
from lvsd.running import virtual_addresses
from lvsd.running.virtual_addresses import VirtualAddresses
from lvsd.signals import StoppedError

VIP = pack("192.0.2.1")
UP = LinkState(7, is_running=True, mac=bytes(6))
DOWN = UP._replace(is_running=False)


class World:
    """An interface, and an operator who takes addresses off it while ``hostile``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.link: LinkState | None = UP
        self.there: set[tuple[int, bytes]] = set()
        self.hostile = False
        self.refusal: KernelError | None = None
        self.noted: list[tuple[str, bytes]] = []
        self.put: list[float] = []
        self.announced: list[float] = []
        self.sent = 0
        self.kept = VirtualAddresses([("front", VIP), ("front", VIP)], self)  # type: ignore[arg-type]

    def add_address(self, interface: str, address: bytes, *, wait: bool = True) -> None:
        """Stand for the machine."""
        del interface, wait
        if self.refusal is not None:
            raise self.refusal
        self.put.append(self.now)
        if not self.hostile:
            self.there.add((7, address))

    def note_addresses(self, wanted: list[tuple[str, bytes]]) -> None:
        """Stand for the machine."""
        self.noted = wanted

    def announce(self, _link: LinkState, _address: bytes, now: float) -> None:
        """Stand for the announcer."""
        self.announced.append(now)

    def start(self) -> None:
        """Put the address on the interface."""
        self.kept.start(self, self.now)  # type: ignore[arg-type]

    def pass_time(self, seconds: int) -> list[str]:
        """Look each second, told of a change each time; return what the log says."""
        with capture_logs() as logs:
            for _ in range(seconds):
                self.now += 1
                self.kept.changed()
                self.kept.look(self.now)
        return [str(line["event"]) for line in logs]

    def problems(self) -> list[Any]:
        """Return what the obstacles are."""
        return [what for what, _, _ in self.kept.obstacles()]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(links, "state", lambda _: world.link)
    monkeypatch.setattr(virtual_addresses, "local_addresses", lambda: frozenset(world.there))
    return world


def test_it_is_put_there_and_announced_at_the_start(world: World) -> None:
    world.start()
    assert (world.put, world.announced, world.problems()) == ([1000.0], [1000.0], [])


def test_a_start_that_is_to_stop_puts_no_more_addresses_there(world: World) -> None:
    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        world.kept.start(world, world.now, stop)  # type: ignore[arg-type]
    assert world.put == []


def test_an_interface_that_is_missing_is_waited_for(world: World) -> None:
    world.link = None
    world.start()
    assert world.problems() == ["the interface of a virtual address does not exist"]
    assert world.kept.counters()["missing"] == 1
    world.link = UP
    assert world.pass_time(1) == ["put a virtual address on its interface"]
    assert (world.put, world.announced, world.problems()) == ([1001.0], [1001.0], [])


def test_an_interface_that_was_renamed_is_said_to_be_renamed_not_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {UP.interface: "uplink"}
    monkeypatch.setattr(links, "name_of", names.get)
    world.start()
    world.link = None
    world.pass_time(1)
    ((what, whom, remedy),) = world.kept.obstacles()
    assert what == "the interface of a virtual address was renamed"
    assert whom.endswith("on front, now uplink")
    assert '`interface = "uplink"`' in remedy
    names.clear()
    world.pass_time(1)
    assert world.problems() == ["the interface of a virtual address does not exist"]


def test_what_is_refused_at_the_start_is_an_error_and_later_an_obstacle(world: World) -> None:
    world.refusal = KernelError("put it there", "not now", "wait")
    with pytest.raises(KernelError):
        world.start()
    world.pass_time(100)
    assert world.problems() == ["cannot put a virtual address on its interface"]


def test_an_address_that_was_taken_away_is_put_back_at_once_and_announced(world: World) -> None:
    world.start()
    world.there.clear()
    assert world.pass_time(1) == ["put a virtual address on its interface"]
    assert world.put == world.announced == [1000.0, 1001.0]
    assert world.pass_time(100) == []


def test_a_fight_is_bounded_and_said(world: World) -> None:
    world.start()
    world.hostile = True
    world.there.clear()
    said = world.pass_time(3600)
    assert 60 <= len(world.put) <= 70
    assert len(said) <= 62
    assert world.problems() == ["somebody takes a virtual address away again and again"]
    world.hostile = False
    world.pass_time(200)
    assert world.problems() == []


def test_a_link_that_comes_up_again_is_told_of_its_address(world: World) -> None:
    world.start()
    world.link = DOWN
    world.pass_time(1)
    world.link = UP
    world.pass_time(5)
    world.link = UP._replace(mac=b"\2" * 6)
    world.pass_time(5)
    assert world.announced == [1000.0, 1002.0, 1007.0]


def test_where_nothing_can_be_seen_it_looks_again_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    world.there.clear()
    world.kept.changed()

    def refuse() -> NoReturn:
        raise KernelError("list the addresses", OSError(24, "Too many open files"), "try again")

    with monkeypatch.context() as blind:
        blind.setattr(virtual_addresses, "local_addresses", refuse)
        with pytest.raises(KernelError):
            world.kept.look(world.now)
    world.kept.look(world.now + 1)
    assert len(world.put) == 2


def test_after_the_stop_nothing_is_put_back(world: World) -> None:
    world.start()
    world.kept.stop()
    world.there.clear()
    assert (world.pass_time(100), world.put) == ([], [1000.0])


def test_without_a_change_it_looks_once_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    looks: list[str] = []
    monkeypatch.setattr(links, "state", looks.append)
    for second in range(120):
        world.kept.look(world.now + second)
    assert looks == ["front"]
