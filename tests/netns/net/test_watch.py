"""What the kernel tells of changes: once for many, also after a loss; and of neighbours."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from lvsd.net import neighbours
from lvsd.net.watch import NeighbourWatch, Watch
from lvsd.packet.address import pack
from tests.netns.io.hosts import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.net.neighbours import Neighbour
    from tests.netns.io.hosts import Row

MAC, OTHER_MAC = "02:00:00:00:00:50", "02:00:00:00:00:51"
BOTH = [pytest.param("10.0.0.50", id="ipv4"), pytest.param("2001:db8:2::50", id="ipv6")]


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("route add 10.9.0.0/16 via 10.0.0.2", "route delete 10.9.0.0/16"),
        ("route add 2001:db8:9::/48 via 2001:db8:2::2", "route delete 2001:db8:9::/48"),
        ("address add 198.51.100.9/32 dev eth0", "address delete 198.51.100.9/32 dev eth0"),
        ("link set eth0 mtu 1400", "link set eth0 mtu 1500"),
        ("rule add from 10.9.0.0/16 lookup 100", "rule delete from 10.9.0.0/16 lookup 100"),
        ("-6 rule add fwmark 7 lookup 100", "-6 rule delete fwmark 7 lookup 100"),
        ("nexthop add id 7 via 10.0.0.2 dev eth1", "nexthop delete id 7"),
    ],
)
def test_a_watch_tells_of_changes_once_for_many(row: Row, change: str, undo: str) -> None:
    calls: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def callback() -> None:
            calls.append(time.monotonic())
            told.set()

        watch = Watch(callback, delay_s=0.1)
        watch.start(loop)
        row.director.ip(change)
        row.director.ip(undo)
        async with asyncio.timeout(5):
            await told.wait()
        watch.close()

    asyncio.run(main())
    assert len(calls) == 1


def test_a_watch_that_lost_notifications_tells_of_the_next_change(row: Row) -> None:
    async def main() -> None:
        told = asyncio.Event()
        watch = Watch(told.set, delay_s=0.01)
        watch.start(asyncio.get_running_loop())
        assert watch._told is not None
        watch._told.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is
        for _ in range(20):
            row.director.ip("route add 10.8.0.0/16 via 10.0.0.2")
            row.director.ip("route delete 10.8.0.0/16")
        for change in ("add", "delete"):
            async with asyncio.timeout(60):
                await told.wait()
            await asyncio.sleep(0.1)  # what was told late is over
            told.clear()
            row.director.ip(f"route {change} 10.8.0.0/16 via 10.0.0.2")
        async with asyncio.timeout(60):
            await told.wait()
        watch.close()

    asyncio.run(main())


class Told:
    """What a watch of neighbours in the director tells."""

    def __init__(self) -> None:
        self.neighbours: list[Neighbour] = []
        self.losses = 0
        self.loop = asyncio.new_event_loop()
        self.watch = NeighbourWatch(self.neighbours.append, self._lose)
        self.watch.start(self.loop)

    def _lose(self) -> None:
        self.losses += 1

    def take(self) -> list[tuple[int, bytes, str | None, bool]]:
        """Return what has been told since the last time."""
        self.watch.catch_up()
        found = [
            (each.interface, each.address, each.mac and each.mac.hex(":"), each.is_fixed)
            for each in self.neighbours
        ]
        self.neighbours.clear()
        return found  # type: ignore[return-value] # no MAC is empty


@pytest.fixture
def told(row: Row) -> Iterator[Told]:
    row.director.ip("neigh flush all nud all")
    told = Told()
    yield told
    told.watch.close()
    told.loop.close()
    row.director.ip("neigh flush all nud all")


@pytest.mark.parametrize("address", BOTH)
def test_each_change_of_a_neighbour_is_told(row: Row, told: Told, address: str) -> None:
    eth1, packed = socket.if_nametoindex("eth1"), pack(address)
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud reachable")
    assert told.take() == [(eth1, packed, MAC, False)]
    row.director.ip(f"neigh replace {address} lladdr {OTHER_MAC} dev eth1 nud permanent")
    assert told.take() == [(eth1, packed, OTHER_MAC, True)]
    row.director.ip(f"neigh del {address} dev eth1")
    assert set(told.take()) == {(eth1, packed, None, False)}


def test_a_loss_of_what_is_told_of_neighbours_is_said_and_the_watch_goes_on(
    row: Row, told: Told
) -> None:
    assert told.watch._told is not None
    told.watch._told.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(20):
        row.director.ip(f"neigh replace 10.0.0.60 lladdr {MAC} dev eth1 nud reachable")
        row.director.ip("neigh del 10.0.0.60 dev eth1")
    told.take()
    assert told.losses == 1
    row.director.ip(f"neigh replace 10.0.0.50 lladdr {MAC} dev eth1 nud reachable")
    assert told.take() == [(socket.if_nametoindex("eth1"), pack("10.0.0.50"), MAC, False)]


def test_a_neighbour_that_is_in_use_is_looked_for(row: Row, told: Told) -> None:
    del row
    place = socket.if_nametoindex("eth1"), pack("10.0.0.2")
    told.watch.send([neighbours.using(*place)])
    deadline = time.monotonic() + PATIENCE_S
    found: list[tuple[int, bytes]] = []
    while place not in found:
        assert time.monotonic() < deadline
        found += [(index, address) for index, address, mac, _ in told.take() if mac]


def test_what_nobody_can_be_asked_for_raises_nothing(row: Row, told: Told) -> None:
    del row
    nobody = [(99999, pack("10.0.0.50")), (1, pack("127.0.0.9")), (1, pack("224.0.0.1"))]
    told.watch.send([neighbours.using(*place) for place in nobody])
    assert [each for each in told.take() if each[0] == 99999] == []
    told.watch.close()
    told.watch.send([neighbours.using(*place) for place in nobody])
    told.watch.close()
