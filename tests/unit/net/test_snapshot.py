"""A snapshot of the network: what is worked out once, however many addresses are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.net.addresses import Address
from lvsd.net.families import INET
from lvsd.net.links import Link
from lvsd.net.network import Network
from lvsd.net.routes import LOCAL, UNICAST, NextHop, Route
from lvsd.net.rules import TABLE, Rule
from lvsd.net.sources import Sources
from lvsd.net.ways import Way
from lvsd.packet.address import pack

if TYPE_CHECKING:
    import pytest

LO, FRONT = 1, 2
LOCAL_TABLE, MAIN = 255, 254
OWN, ROUTER = pack("10.1.0.1"), pack("10.1.0.2")


def link(index: int, name: str) -> Link:
    """Return a link that is up."""
    return Link(index, name, "", 1500, bytes(6), True, True, True, True)


HOST: Final = Network(
    [link(LO, "lo"), link(FRONT, "front")],
    [Address(FRONT, OWN, 24, 0)],
    [Rule(INET, 0, TABLE, LOCAL_TABLE), Rule(INET, 32766, TABLE, MAIN)],
    [
        Route(INET, LOCAL_TABLE, pack("10.9.0.0"), 16, LOCAL, 0, (NextHop(LO, None),), scope=254),
        Route(INET, MAIN, pack("10.1.0.0"), 24, UNICAST, 0, (NextHop(FRONT, None),), scope=253),
        Route(INET, MAIN, pack("10.128.0.0"), 9, UNICAST, 0, (NextHop(FRONT, ROUTER),)),
    ],
    forwards_ipv6=False,
)


def test_the_source_of_a_route_is_worked_out_once_for_all_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    ipv4 = Sources.ipv4

    def counted(self: Sources, interface: int, gateway: bytes | None, scope: int) -> object:
        asked.append(interface)
        return ipv4(self, interface, gateway, scope)

    monkeypatch.setattr(Sources, "ipv4", counted)
    servers = [pack(f"10.128.{each}.1") for each in range(100)]
    ways = {HOST.way(each) for each in servers}
    assert [(way.gateway, way.source) for way in ways if isinstance(way, Way)] == [(ROUTER, OWN)]
    assert asked == [FRONT]


def test_each_local_address_of_one_route_is_its_own_source() -> None:
    own = [pack(f"10.9.0.{each}") for each in range(1, 4)]
    ways = [HOST.way(each) for each in own]
    assert [way.source for way in ways if isinstance(way, Way)] == own
