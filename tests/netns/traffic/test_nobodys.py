"""A router sends to a VIP what the director's default route would send back to the router.

The client is the router here: it forwards, and the director's default route leads to it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from typing import TYPE_CHECKING, Final

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from lvsd.lab.wait import until
from tests.netns.traffic.site import FAMILIES, both, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab, Namespace
    from tests.netns.traffic.site import Family, Site

PORT, OTHER_PORT = 80, 81
ESP, SCTP, GRE = 50, 132, 47
STRANGER: Final = {"v4": "203.0.113.5", "v6": "2001:db8:77::5"}
"""Somebody behind the router."""

COUNTING: Final = """
table inet counting {
    counter seen4 { }
    counter seen6 { }
    chain arrived {
        type filter hook prerouting priority -300;
        ip daddr VIP4 ip saddr STRANGER4 counter name seen4
        ip6 daddr VIP6 ip6 saddr STRANGER6 counter name seen6
    }
}
"""


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """Run a web service behind a router to which the director's default route leads."""
    director, router = web_lab.director, web_lab.client
    words = {
        "VIP4": web_lab.vip.v4,
        "VIP6": web_lab.vip.v6,
        "STRANGER4": STRANGER["v4"],
        "STRANGER6": STRANGER["v6"],
    }
    counting = COUNTING
    for word, value in words.items():
        counting = counting.replace(word, value)
    director.run(["nft", "-f", "-"], input=counting)
    routes = [f"route add default via {of(router.addresses, family)}" for family in FAMILIES]
    director.ip(*routes)
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    before = {name: router.sysctl_value(name) for name in names}
    for name in names:
        router.sysctl(name, "1")
    try:
        with running(web_lab, both(web_lab, PORT, 8080)) as site:
            yield site
    finally:
        for name, value in before.items():
            router.sysctl(name, value)
        director.ip(*(route.replace("add", "del") for route in routes))
        director.run(["nft", "delete", "table", "inet", "counting"])


def seen(director: Namespace, family: Family) -> int:
    """Return how many packets of the stranger's came to the director for the VIP."""
    name = f"seen{family[1]}"
    shown = director.run(["nft", "-j", "list", "counter", "inet", "counting", name]).stdout
    return int(json.loads(shown)["nftables"][1]["counter"]["packets"])


def not_forwarded(director: Namespace) -> int:
    """Return how many packets lvsd's own rules did not forward to a VIP."""
    listing = director.run(["nft", "-j", "list", "chain", "inet", "lvsd", "replies"]).stdout
    counted = [
        statement["counter"]["packets"]
        for entry in json.loads(listing)["nftables"]
        for statement in entry.get("rule", {}).get("expr", [])
        if "counter" in statement
    ]
    assert len(counted) == len(FAMILIES)
    return sum(counted)


def send(site: Site, family: Family, body: object, protocol: int | None = None) -> None:
    """Send a packet of the stranger's from the router, with a TTL of 255."""
    source, vip = STRANGER[family], site.vip(family)
    if family == "v4":
        packet = IP(src=source, dst=vip, ttl=255) / body
        if protocol is not None:
            packet.proto = protocol
        kind = socket.AF_INET
    else:
        packet = IPv6(src=source, dst=vip, hlim=255) / body
        if protocol is not None:
            packet.nh = protocol
        kind = socket.AF_INET6
    with (
        site.lab.client.entered(),
        socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock,
    ):
        sock.sendto(bytes(packet), (vip, 0))


@contextlib.contextmanager
def once(site: Site, family: Family) -> Iterator[None]:
    """Hold what is sent inside the block to being seen once, and traffic to going on.

    A packet that goes round is through the queue again long before a visit is over.
    """
    director = site.lab.director
    before = seen(director, family)
    yield
    assert until(lambda: seen(director, family) > before)
    assert len(site.visits(family, PORT, 3)) == 3
    assert seen(director, family) == before + 1


def test_an_icmp_error_about_no_connection_ends_here(site: Site, family: Family) -> None:
    before = site.drops["no_connection"]
    kind = ICMP(type=3, code=1) if family == "v4" else ICMPv6DestUnreach(code=3)
    with once(site, family):
        send(site, family, kind / Raw(b"xxxx"))
    assert site.drops["no_connection"] == before + 1


@pytest.mark.parametrize("what", ["ping", "tcp", "udp", "esp", "sctp", "gre"])
def test_what_no_rule_takes_ends_here(site: Site, family: Family, what: str) -> None:
    before = not_forwarded(site.lab.director)
    bodies = {
        "ping": (ICMP() if family == "v4" else ICMPv6EchoRequest(), None),
        "tcp": (TCP(sport=1234, dport=OTHER_PORT, flags="S"), None),
        "udp": (UDP(sport=1234, dport=OTHER_PORT) / Raw(b"x"), None),
        "esp": (Raw(bytes(40)), ESP),
        "sctp": (Raw(bytes(40)), SCTP),
        "gre": (Raw(bytes(40)), GRE),
    }
    with once(site, family):
        send(site, family, *bodies[what])
    assert not_forwarded(site.lab.director) == before + 1


def test_what_the_operators_route_refuses_is_answered(site: Site, family: Family) -> None:
    director, vip = site.lab.director, site.vip(family)
    prefix = 32 if family == "v4" else 128
    director.ip(f"route add unreachable {vip}/{prefix}")
    try:
        with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
            refused = sock.connect_ex((vip, OTHER_PORT))
        assert len(site.visits(family, PORT, 3)) == 3
    finally:
        director.ip(f"route del unreachable {vip}/{prefix}")
    assert refused in {errno.EHOSTUNREACH, errno.ENETUNREACH}
