"""Routes, links and addresses as the kernel tells them."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from lvsd.io import netlink
from lvsd.io.netlink import QUESTIONS_AT_ONCE, Link
from lvsd.io.routes import (
    Watch,
    Way,
    link_mtus,
    local_addresses,
    mtus_and_sources,
    ways,
)
from lvsd.net import ways as ways_by_pyroute2
from lvsd.net.kernel import talking
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.io.netlink import Message
    from tests.netns.io.hosts import Row

GETLINK, GETROUTE = 18, 26
ROUTES = (
    "10.1.0.0/16 via 10.0.0.2 mtu 1300",
    "10.2.0.0/16 nexthop via 10.0.0.2 nexthop via 192.0.2.2",
    "blackhole 10.3.0.0/16",
    "unreachable 10.4.0.0/16",
    "prohibit 10.5.0.0/16",
    "2001:db8:a::/48 via 2001:db8:2::2 mtu 1290",
    "2001:db8:b::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2",
    "unreachable 2001:db8:c::/48",
    "10.6.0.0/16 via 10.0.0.2 src 192.0.2.1",
    "10.7.0.0/16 via inet6 2001:db8:2::2 dev eth1",
    "2001:db8:d::/48 via 2001:db8:2::2 src 2001:db8:1::1",
)


def asked(addresses: Iterable[bytes]) -> dict[bytes, ways_by_pyroute2.Way | None]:
    """Return what pyroute2 makes of the kernel's answers about these addresses."""
    with talking() as kernel:
        return ways_by_pyroute2.ask(kernel, addresses)


def route_mtus(addresses: Iterable[bytes]) -> dict[bytes, int | None]:
    return {address: way and way.mtu for address, way in asked(addresses).items()}


def sources(addresses: Iterable[bytes]) -> dict[bytes, bytes | None]:
    return {address: way and way.source for address, way in asked(addresses).items()}


@pytest.fixture
def routed(row: Row) -> Iterator[Row]:
    """Put routes of every kind into the director; eth0 has MTU 1400, eth1 MTU 1500."""
    for route in ROUTES:
        row.director.ip(f"route add {route}")
    row.director.ip("link set eth0 mtu 1400")
    yield row
    for route in ROUTES:
        row.director.ip(f"route delete {route}")


def own_mac(interface: str) -> bytes:
    """Return the MAC of an interface of this namespace, as ``ip`` tells it."""
    command = ["ip", "-json", "link", "show", "dev", interface]
    done = subprocess.run(command, check=True, capture_output=True)
    return bytes.fromhex(json.loads(done.stdout)[0]["address"].replace(":", ""))


@pytest.mark.parametrize(
    ("address", "mtu"),
    [
        pytest.param("192.0.2.9", 1400, id="the device's"),
        pytest.param("10.0.0.9", 1500, id="another device's"),
        pytest.param("10.1.0.1", 1300, id="the route's own"),
        pytest.param("10.2.0.1", 1400, id="the least of two next hops"),
        pytest.param("10.3.0.1", None, id="blackhole"),
        pytest.param("10.4.0.1", None, id="unreachable"),
        pytest.param("10.5.0.1", None, id="prohibit"),
        pytest.param("203.0.113.1", None, id="no route"),
        pytest.param("2001:db8:2::9", 1500, id="ipv6: the device's"),
        pytest.param("2001:db8:a::1", 1290, id="ipv6: the route's own"),
        pytest.param("2001:db8:b::1", 1400, id="ipv6: the least of two next hops"),
        pytest.param("2001:db8:c::1", None, id="ipv6: unreachable"),
        pytest.param("2001:db8:ff::1", None, id="ipv6: no route"),
    ],
)
def test_the_mtu_of_a_route(routed: Row, address: str, mtu: int | None) -> None:
    del routed
    assert route_mtus([pack(address)]) == {pack(address): mtu}


@pytest.mark.parametrize(
    ("address", "source"),
    [
        pytest.param("10.0.0.9", "10.0.0.1", id="on the link"),
        pytest.param("10.1.0.1", "10.0.0.1", id="behind a gateway"),
        pytest.param("10.6.0.1", "192.0.2.1", id="the route's preferred source"),
        pytest.param("10.0.0.1", "10.0.0.1", id="the host itself"),
        pytest.param("10.3.0.1", None, id="blackhole"),
        pytest.param("10.4.0.1", None, id="unreachable"),
        pytest.param("203.0.113.1", None, id="no route"),
        pytest.param("2001:db8:2::9", "2001:db8:2::1", id="ipv6: on the link"),
        pytest.param("2001:db8:a::1", "2001:db8:2::1", id="ipv6: behind a gateway"),
        pytest.param("2001:db8:d::1", "2001:db8:1::1", id="ipv6: the route's preferred source"),
        pytest.param("2001:db8:2::1", "2001:db8:2::1", id="ipv6: the host itself"),
        pytest.param("2001:db8:c::1", None, id="ipv6: unreachable"),
        pytest.param("2001:db8:ff::1", None, id="ipv6: no route"),
    ],
)
def test_the_source_is_the_one_that_the_kernel_takes(
    routed: Row, address: str, source: str | None
) -> None:
    del routed
    packed = pack(address)
    assert sources([packed]) == {packed: source and pack(source)}
    if source:
        with socket.socket(
            socket.AF_INET if "." in address else socket.AF_INET6, socket.SOCK_DGRAM
        ) as sock:
            sock.connect((address, 9))
            assert sock.getsockname()[0] == source


@pytest.mark.parametrize(
    ("address", "interface", "gateway", "mtu"),
    [
        pytest.param("10.0.0.9", "eth1", None, 1500, id="on the link"),
        pytest.param("192.0.2.9", "eth0", None, 1400, id="on another link"),
        pytest.param("10.1.0.1", "eth1", "10.0.0.2", 1300, id="behind a gateway"),
        pytest.param("10.7.0.1", "eth1", "2001:db8:2::2", 1500, id="behind one of IPv6"),
        pytest.param("2001:db8:2::9", "eth1", None, 1500, id="ipv6: on the link"),
        pytest.param("2001:db8:a::1", "eth1", "2001:db8:2::2", 1290, id="ipv6: behind a gateway"),
    ],
)
def test_the_way_names_interface_gateway_mac_and_mtu(
    routed: Row, address: str, interface: str, gateway: str | None, mtu: int
) -> None:
    del routed
    expected = Way(
        socket.if_nametoindex(interface),
        interface,
        pack(gateway) if gateway else None,
        is_ethernet=True,
        mac=own_mac(interface),
        mtu=mtu,
    )
    assert ways([pack(address)]) == {pack(address): expected}


def test_there_is_no_way_without_a_route_and_no_ethernet_to_the_host_itself(routed: Row) -> None:
    del routed
    nowhere, unreachable, here = map(pack, ("203.0.113.1", "2001:db8:c::1", "10.0.0.1"))
    found = ways([nowhere, unreachable, here])
    assert (found[nowhere], found[unreachable]) == (None, None)
    way = found[here]
    assert way is not None
    assert (way.name, way.is_ethernet) == ("lo", False)


def test_each_address_is_looked_up_once_on_one_socket(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    del row
    sent: list[int] = []
    sockets: list[Link] = []

    class Counted(Link):
        def __init__(self, protocol: int) -> None:
            super().__init__(protocol)
            sockets.append(self)

        def _send(self, message: Message, flags: int) -> int:
            sent.append(message.kind)
            return super()._send(message, flags)

        def _get_some(self, questions: Sequence[Message]) -> list[Message | OSError]:
            sent.extend(each.kind for each in questions)
            return super()._get_some(questions)

    monkeypatch.setattr(netlink, "Link", Counted)
    near, far, nowhere = pack("192.0.2.9"), pack("2001:db8:2::9"), pack("203.0.113.1")
    answers = mtus_and_sources(iter([near, far, near, nowhere, far]))
    assert {address: mtu for address, mtu, _ in answers} == {near: 1500, far: 1500, nowhere: None}
    # Once for the entry, and once for the source.
    assert (len(sockets), sent) == (1, [GETLINK, *[GETROUTE] * 6])


OF_MANY_KINDS = (
    *("192.0.2.9", "10.0.0.9", "10.0.0.1", "10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1"),
    *("10.5.0.1", "203.0.113.1", "10.6.0.1", "10.7.0.1", "127.0.0.1", "10.1.7.7", "10.255.0.1"),
    *("2001:db8:2::9", "2001:db8:2::1", "2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1"),
    *("2001:db8:d::1", "2001:db8:ff::1", "::1"),
)


@pytest.mark.parametrize("buffer", [pytest.param(1, id="little room"), 1 << 16])
def test_what_is_asked_together_is_what_is_asked_alone(
    routed: Row, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    """Five addresses behind each route, in turns: those of one route share what can be shared."""
    routed.director.ip("route add default via 192.0.2.2 src 10.0.0.1 metric 7")
    kinds = [ipaddress.ip_address(each) for each in OF_MANY_KINDS]
    addresses = [(each + step).packed for step in range(5) for each in kinds]
    alone = [
        (each, route_mtus([each])[each], sources([each])[each]) for each in dict.fromkeys(addresses)
    ]

    class Narrow(Link):
        def __init__(self, protocol: int) -> None:
            super().__init__(protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

    monkeypatch.setattr(netlink, "Link", Narrow)
    together = list(mtus_and_sources(iter(addresses)))
    routed.director.ip("route delete default")
    assert together == alone


def test_servers_behind_one_router_cost_a_question_each(
    routed: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    del routed
    sends: list[int] = []

    class Counted(Link):
        def _get_some(self, questions: Sequence[Message]) -> list[Message | OSError]:
            sends.append(len(questions))
            return super()._get_some(questions)

    monkeypatch.setattr(netlink, "Link", Counted)
    addresses = [pack(f"10.1.{number >> 8}.{number & 255}") for number in range(1000)]
    expected = [(each, 1300, pack("10.0.0.1")) for each in addresses]
    assert list(mtus_and_sources(addresses)) == expected
    assert 1000 <= sum(sends) <= 1000 + QUESTIONS_AT_ONCE
    assert len(sends) <= 2 + 1000 // QUESTIONS_AT_ONCE


def test_links_and_addresses_are_those_of_this_namespace(row: Row) -> None:
    row.director.ip("link set eth1 mtu 1450")
    eth0, eth1 = (socket.if_nametoindex(name) for name in ("eth0", "eth1"))
    mtus = link_mtus()
    assert (mtus[eth0], mtus[eth1]) == (1500, 1450)
    assert local_addresses() >= {
        (eth0, pack("192.0.2.1")),
        (eth0, pack("2001:db8:1::1")),
        (eth1, pack("10.0.0.1")),
        (eth1, pack("2001:db8:2::1")),
    }


def test_a_look_up_works_inside_a_running_loop(row: Row) -> None:
    del row

    async def main() -> int | None:
        [(_, mtu, _)] = mtus_and_sources([pack("10.0.0.2")])
        return mtu

    assert uvloop.run(main()) == 1500


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

    uvloop.run(main())
    assert len(calls) == 1


def test_a_watch_that_lost_notifications_tells_of_the_next_change(row: Row) -> None:
    async def main() -> None:
        told = asyncio.Event()
        watch = Watch(told.set, delay_s=0.01)
        watch.start(asyncio.get_running_loop())
        assert watch._socket is not None
        watch._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is
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

    uvloop.run(main())
