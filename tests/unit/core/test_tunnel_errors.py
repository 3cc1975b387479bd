"""Errors about a tunnel whose outer and inner packets are of two families."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.packet import Raw

from forwarders import Tun
from lvsd.core.commands import AddServer
from lvsd.core.values import ServerConfig, Way
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import World

ROUTER = {4: "203.0.113.1", 6: "2001:db8:e::1"}
ENDS = {4: ("10.0.0.254", "10.0.0.1"), 6: ("fd00::fe", "fd00::1")}
"""Of the tunnel: ours, and the real server's."""
OUTSIDE = {
    "unreachable": {4: ICMP(type=3, code=1), 6: ICMPv6DestUnreach(code=3)},
    "time exceeded": {4: ICMP(type=11), 6: ICMPv6TimeExceeded()},
    "too big": {4: ICMP(type=3, code=4, nexthopmtu=1400), 6: ICMPv6PacketTooBig(mtu=1400)},
}
INSIDE = {
    "unreachable": {4: (3, 1), 6: (1, 3)},
    "time exceeded": {4: (11, 0), 6: (3, 0)},
    "too big": {4: (3, 4), 6: (2, 0)},
}


@pytest.mark.parametrize(("inside", "outside"), [(4, 6), (6, 4)])
@pytest.mark.parametrize("what", OUTSIDE)
def test_the_client_is_told_in_the_words_of_its_own_family(
    inside: int, outside: int, what: str
) -> None:
    world = World(inside)
    service = world.serve(servers=0, scheduler="rr")
    ours, theirs = ENDS[outside]
    world.apply(AddServer(service.key, ServerConfig(pack(theirs), 80, Tun())))
    service.servers[0].set_way(Way(1500, pack(ours)))
    outer = world.leave(world.from_client())
    header = (IP if outside == 4 else IPv6)(src=ROUTER[outside], dst=ours)
    error = header / OUTSIDE[what][outside] / Raw(outer)
    assert world.handle(bytes(error)) is Verdict.TAKEN
    (answer,) = world.balancer.outbox.answers
    assert tuple(answer.message[:2]) == INSIDE[what][inside]
