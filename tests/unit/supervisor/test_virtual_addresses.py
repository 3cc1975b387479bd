"""A virtual address is where it belongs, or it is said why not; nobody fights over it for ever."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.net.links import Link
from lvsd.packet.address import pack, text
from lvsd.signals import StoppedError
from lvsd.supervisor import virtual_addresses
from lvsd.supervisor.virtual_addresses import VirtualAddresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

VIP = pack("192.0.2.1")
UP = Link(
    *(7, "front", "", 1500, bytes(6)),
    is_ethernet=True,
    is_up=True,
    is_running=True,
    speaks_arp=True,
)
DOWN = replace(UP, is_running=False)
AT_ONCE = 10


class World:
    """An interface, and an operator who takes addresses off it while ``hostile``."""

    def __init__(self, vips: Sequence[bytes] = (VIP,)) -> None:
        self.now = 1000.0
        self.links: list[Link] = [UP]
        self.looks = 0
        self.there: set[tuple[int, bytes]] = set()
        self.hostile = False
        self.refusal: KernelError | None = None
        self.put: list[float] = []
        self.announced: list[float] = []
        self.sent = 0
        self.kept = VirtualAddresses([("front", each) for each in (*vips, *vips)], self)  # type: ignore[arg-type]

    def seen(self) -> tuple[dict[str, Link], set[tuple[int, bytes]]]:
        """Stand for the kernel."""
        self.looks += 1
        return {link.name: link for link in self.links}, self.there.copy()

    def add_addresses(
        self, wanted: Sequence[tuple[str, bytes]], before_some: Callable[[], None]
    ) -> None:
        """Stand for the machine."""
        for refusal in self.put_addresses(wanted, before_some).values():
            raise refusal

    def put_addresses(
        self, wanted: Sequence[tuple[str, bytes]], before_some: Callable[[], None]
    ) -> dict[tuple[str, bytes], KernelError]:
        """Stand for the machine."""
        for at in range(0, len(wanted), AT_ONCE):
            before_some()
            if self.refusal is None:
                for _, address in wanted[at : at + AT_ONCE]:
                    self.put.append(self.now)
                    if not self.hostile:
                        self.there.add((7, address))
        return dict.fromkeys(wanted, self.refusal) if self.refusal else {}

    def take_addresses(self, places: Iterable[tuple[str, bytes]]) -> list[str]:
        """Stand for the machine."""
        self.there -= {(7, address) for _, address in places}
        return [f"took {text(address)} off" for _, address in places]

    def announce(self, _index: int, _mac: bytes, _address: bytes, now: float) -> None:
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
    monkeypatch.setattr(virtual_addresses, "_seen", world.seen)
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
    world.links = []
    world.start()
    assert world.problems() == ["the interface of a virtual address does not exist"]
    assert world.kept.counters()["missing"] == 1
    world.links = [UP]
    assert world.pass_time(1) == ["put a virtual address on its interface"]
    assert (world.put, world.announced, world.problems()) == ([1001.0], [1001.0], [])


def test_an_interface_that_was_renamed_is_said_to_be_renamed_not_missing(world: World) -> None:
    world.start()
    world.links = [replace(UP, name="uplink")]
    world.pass_time(1)
    ((what, whom, remedy),) = world.kept.obstacles()
    assert what == "the interface of a virtual address was renamed"
    assert whom.endswith("on front, now uplink")
    assert '`interface = "uplink"`' in remedy
    world.links = []
    world.pass_time(1)
    assert world.problems() == ["the interface of a virtual address does not exist"]


def test_an_address_of_an_interface_that_nobody_asks_by_arp_is_not_announced(world: World) -> None:
    world.links = [replace(UP, speaks_arp=False)]
    world.start()
    world.links = [replace(UP, is_ethernet=False)]
    world.pass_time(5)
    assert (world.put, world.announced, world.problems()) == ([1000.0], [], [])


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
    world.links = [DOWN]
    world.pass_time(1)
    world.links = [UP]
    world.pass_time(5)
    world.links = [replace(UP, mac=b"\2" * 6)]
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
        blind.setattr(virtual_addresses, "_seen", refuse)
        with pytest.raises(KernelError):
            world.kept.look(world.now)
    world.kept.look(world.now + 1)
    assert len(world.put) == 2


def _many(monkeypatch: pytest.MonkeyPatch, number: int) -> World:
    """Return a world in which so many addresses were there and have been taken away."""
    world = World([pack(f"192.0.2.{host}") for host in range(1, number + 1)])
    monkeypatch.setattr(virtual_addresses, "_seen", world.seen)
    world.start()
    world.there.clear()
    world.put.clear()
    return world


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (5, [f"192.0.2.{host} on front" for host in range(1, 6)]),
        (100, [("192.0.2.1 on front", 100)]),
    ],
)
def test_a_few_addresses_that_are_back_are_named_and_many_are_one_line(
    monkeypatch: pytest.MonkeyPatch, number: int, said: list[object]
) -> None:
    world = _many(monkeypatch, number)
    with capture_logs() as logs:
        world.kept.changed()
        world.kept.look(world.now + 1)
    assert len(world.put) == number
    found = [each.get("address") or (each["such_as"], each["addresses"]) for each in logs]
    assert found == said


def test_a_stop_ends_the_look_that_is_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _many(monkeypatch, 100)
    world.kept.changed()
    stopping = threading.Thread(target=world.kept.stop)
    heed = world.kept._heed_stop

    def heed_at_the_third() -> None:
        if len(world.put) == 2 * AT_ONCE:
            stopping.start()
            while world.kept._machine is not None:
                pass
        heed()

    monkeypatch.setattr(world.kept, "_heed_stop", heed_at_the_third)
    world.kept.look(world.now + 1)
    stopping.join()
    assert len(world.put) == 2 * AT_ONCE


def test_after_the_stop_nothing_is_put_back(world: World) -> None:
    world.start()
    world.kept.stop()
    world.there.clear()
    assert (world.pass_time(100), world.put) == ([], [1000.0])


def test_without_a_change_it_looks_once_a_minute(world: World) -> None:
    world.start()
    looks = world.looks
    for second in range(120):
        world.kept.look(world.now + second)
    assert world.looks == looks + 1


def test_a_change_while_it_looks_has_it_look_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    world.kept.changed()

    def seen() -> Any:
        world.kept.changed()
        return world.seen()

    with monkeypatch.context() as busy:
        busy.setattr(virtual_addresses, "_seen", seen)
        world.kept.look(world.now + 1)
    looks = world.looks
    world.kept.look(world.now + 2)
    assert world.looks == looks + 1


OTHER = pack("192.0.2.2")


def test_an_address_that_is_wanted_later_is_put_there_and_announced(world: World) -> None:
    world.start()
    world.now += 1
    assert world.kept.want([("front", VIP), ("front", OTHER)], world.now) == []
    assert world.there == {(7, VIP), (7, OTHER)}
    assert world.announced == [1000.0, 1001.0]
    assert world.kept.counters()["wanted"] == 2


def test_an_address_that_is_wanted_no_longer_is_taken_off_and_stays_off(world: World) -> None:
    world.start()
    assert world.kept.want([("front", OTHER)], world.now) == ["took 192.0.2.1 off"]
    assert world.there == {(7, OTHER)}
    world.pass_time(100)
    assert world.there == {(7, OTHER)}
    assert world.kept.want([], world.now) == ["took 192.0.2.2 off"]
    assert world.kept.counters()["wanted"] == 0


def test_addresses_may_be_wanted_where_none_was_at_the_start() -> None:
    world = World()
    kept = VirtualAddresses([], world)  # type: ignore[arg-type]
    world.kept = kept
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(virtual_addresses, "_seen", world.seen)
        world.start()
        kept.want([("front", VIP)], world.now)
    assert world.there == {(7, VIP)}


def test_nothing_is_changed_once_addresses_are_no_longer_looked_after(world: World) -> None:
    world.start()
    world.kept.stop()
    assert world.kept.want([], world.now) == []
    assert world.there == {(7, VIP)}
