"""The ways to addresses as the kernel tells them: route, source, interface and MTU."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.errors import KernelError
from lvsd.net import addresses, kernel, links, network, ways
from lvsd.net.kernel import Kernel, talking
from lvsd.net.ways import Way
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.net.kernel import Message, Request
    from tests.netns.io.hosts import Row

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


@pytest.fixture(params=["asked", "looked up in a snapshot"])
def how(request: pytest.FixtureRequest) -> str:
    """Learn the ways by questions, and by a snapshot."""
    return str(request.param)


def found_ways(addresses: Iterable[bytes], how: str = "asked") -> dict[bytes, Way | None]:
    with talking() as kernel:
        if how == "asked":
            return ways.ask(kernel, addresses)
        return network.ways(kernel, network.read(kernel, forwards_ipv6=True), addresses)


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
def test_the_mtu_of_a_route(routed: Row, how: str, address: str, mtu: int | None) -> None:
    del routed
    way = found_ways([pack(address)], how)[pack(address)]
    assert (way and way.mtu) == mtu


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
    routed: Row, how: str, address: str, source: str | None
) -> None:
    del routed
    way = found_ways([pack(address)], how)[pack(address)]
    assert (way and way.source) == (source and pack(source))
    if source:
        with socket.socket(
            socket.AF_INET if "." in address else socket.AF_INET6, socket.SOCK_DGRAM
        ) as sock:
            sock.connect((address, 9))
            assert sock.getsockname()[0] == source


@pytest.mark.parametrize(
    ("address", "interface", "gateway", "mtu", "source"),
    [
        pytest.param("10.0.0.9", "eth1", None, 1500, "10.0.0.1", id="on the link"),
        pytest.param("192.0.2.9", "eth0", None, 1400, "192.0.2.1", id="on another link"),
        pytest.param("10.1.0.1", "eth1", "10.0.0.2", 1300, "10.0.0.1", id="behind a gateway"),
        pytest.param(
            *("10.7.0.1", "eth1", "2001:db8:2::2", 1500, "10.0.0.1"), id="behind one of IPv6"
        ),
        pytest.param(
            *("2001:db8:2::9", "eth1", None, 1500, "2001:db8:2::1"), id="ipv6: on the link"
        ),
        pytest.param(
            *("2001:db8:a::1", "eth1", "2001:db8:2::2", 1290, "2001:db8:2::1"),
            id="ipv6: behind a gateway",
        ),
    ],
)
def test_the_way_names_interface_gateway_mac_and_mtu(
    routed: Row, how: str, address: str, interface: str, gateway: str | None, mtu: int, source: str
) -> None:
    del routed
    expected = Way(
        socket.if_nametoindex(interface),
        interface,
        pack(gateway) if gateway else None,
        is_ethernet=True,
        mac=own_mac(interface),
        mtu=mtu,
        source=pack(source),
    )
    assert found_ways([pack(address)], how) == {pack(address): expected}


def test_there_is_no_way_without_a_route_and_no_ethernet_to_the_host_itself(
    routed: Row, how: str
) -> None:
    del routed
    nowhere, unreachable, here = map(pack, ("203.0.113.1", "2001:db8:c::1", "10.0.0.1"))
    found = found_ways([nowhere, unreachable, here], how)
    assert (found[nowhere], found[unreachable]) == (None, None)
    way = found[here]
    assert way is not None
    assert (way.name, way.is_ethernet, way.is_local) == ("lo", False, True)


class Counted(Kernel):
    """A conversation that notes how many questions go with each send."""

    def __init__(self) -> None:
        super().__init__()
        self.sends: list[int] = []

    def _exchange(
        self, requests: Sequence[Request], *, only_last: bool = False
    ) -> dict[int, Message | KernelError]:
        self.sends.append(len(requests))
        return super()._exchange(requests, only_last=only_last)


def test_each_address_is_asked_about_once_and_many_with_one_send(row: Row) -> None:
    del row
    counted = Counted()
    near, far, nowhere = pack("192.0.2.9"), pack("2001:db8:2::9"), pack("203.0.113.1")
    found = ways.ask(counted, iter([near, far, near, nowhere, far]))
    assert {address: way and way.mtu for address, way in found.items()} == {
        near: 1500,
        far: 1500,
        nowhere: None,
    }
    assert counted.sends == [3, 3], "once for the entry, and once for what is made of it"
    counted.sends.clear()
    ways.ask(counted, [pack(f"10.0.{number >> 8}.{number & 255}") for number in range(1000)])
    assert sum(counted.sends) == 2000
    assert len(counted.sends) <= 2 * (1 + 1000 // kernel._QUESTIONS_AT_ONCE)
    counted.close()


OF_MANY_KINDS = (
    *("192.0.2.9", "10.0.0.9", "10.0.0.1", "10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1"),
    *("10.5.0.1", "203.0.113.1", "10.6.0.1", "10.7.0.1", "127.0.0.1", "10.1.7.7", "10.255.0.1"),
    *("2001:db8:2::9", "2001:db8:2::1", "2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1"),
    *("2001:db8:d::1", "2001:db8:ff::1", "::1"),
)


@pytest.mark.parametrize("buffer", [pytest.param(1, id="little room"), 1 << 16])
def test_what_is_asked_together_is_what_is_asked_alone(routed: Row, buffer: int) -> None:
    routed.director.ip("route add default via 192.0.2.2 src 10.0.0.1 metric 7")
    kinds = [ipaddress.ip_address(each) for each in OF_MANY_KINDS]
    addresses = [(each + step).packed for step in range(5) for each in kinds]
    alone = {each: found_ways([each])[each] for each in addresses}
    with talking() as narrow:
        narrow._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        together = ways.ask(narrow, addresses)
    routed.director.ip("route delete default")
    assert together == alone


def test_a_question_that_is_refused_costs_the_others_nothing(row: Row) -> None:
    del row
    with talking() as kernel:
        wanted = [pack(each) for each in ("192.0.2.9", "203.0.113.1", "10.0.0.9")]
        first, second, third = kernel.answers([ways._question(each, 0) for each in wanted])
    assert isinstance(second, KernelError)
    assert second.errno == errno.ENETUNREACH
    assert not isinstance(first, KernelError)
    assert not isinstance(third, KernelError)
    assert [first.get_attr("RTA_DST"), third.get_attr("RTA_DST")] == ["192.0.2.9", "10.0.0.9"]


def test_an_answer_that_never_comes_is_an_error(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    del row
    with talking() as kernel:
        monkeypatch.setattr(kernel, "_socket", Mute(kernel._socket))
        with pytest.raises(KernelError, match=r"the route to 192\.0\.2\.9: .* no answer"):
            ways.ask(kernel, [pack("192.0.2.9")])
        monkeypatch.undo()


class Mute:
    """A conversation in which the kernel hears nothing that is asked together."""

    def __init__(self, talking: Any) -> None:
        self._talking = talking

    def __getattr__(self, name: str) -> Any:
        return getattr(self._talking, name)

    def send(self, _: bytes) -> None:
        """Send nothing."""


def test_links_and_addresses_are_those_of_this_namespace(row: Row) -> None:
    row.director.ip("link set eth1 mtu 1450")
    eth0, eth1 = (socket.if_nametoindex(name) for name in ("eth0", "eth1"))
    with talking() as kernel:
        mtus = {link.index: link.mtu for link in links.every(kernel)}
        found = {(each.interface, each.address) for each in addresses.every(kernel)}
    assert (mtus[eth0], mtus[eth1]) == (1500, 1450)
    assert found >= {
        (eth0, pack("192.0.2.1")),
        (eth0, pack("2001:db8:1::1")),
        (eth1, pack("10.0.0.1")),
        (eth1, pack("2001:db8:2::1")),
    }
