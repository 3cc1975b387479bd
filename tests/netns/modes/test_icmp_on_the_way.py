"""ICMP errors from routers between the director and the real servers, and about segments of TCP."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from lvsd.lab import Lab, real_server
from lvsd.lab.capture import finish_checksums
from lvsd.lab.wait import until
from tests.netns.modes.hops import Place, captured
from tests.netns.modes.icmp_site import (
    IP_BYTES,
    TOO_BIG,
    answered,
    datagram,
    errors,
    forget,
    learned_mtu,
    listening,
    send_raw,
    spoilt,
    unlimit,
    unreachable,
    uploaded,
)
from tests.netns.modes.site import forwarded
from tests.netns.traffic.icmp_errors import IcmpError
from tests.netns.traffic.site import of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

MTU, NARROW = 1500, 1300
"""In bytes: of every link, and of the router's ways to the servers of NAT and FULLNAT."""

BY_WAY = {"nat": 7001, "tun": 7002, "fullnat": 7003}
UDP = 100
"""The ports of the TCP services; those of UDP have ports that are 100 more."""

CLAMPED_PORT = 7004
UPLOAD_BYTES = 300_000
TOA_BYTES = {"v4": 8, "v6": 20}


@pytest.fixture(scope="module")
def routed_site() -> Iterator[Site]:
    """Have a router between the director and every server, NAT's too, both ways."""
    with Lab(name="lvsd-icmp", ways=["nat", "tun", "fullnat"], mtu=MTU) as lab:
        for space in lab.servers:
            real_server.up(space, lab.vip)
        unlimit(lab)
        route_nat(lab)
        narrow(lab, lab.servers[2], "far")
        finish_checksums(lab.client)
        tables = [
            *(forwarded(lab, way, port) for way, port in BY_WAY.items()),
            *(forwarded(lab, way, port + UDP, protocol="udp") for way, port in BY_WAY.items()),
            forwarded(lab, "tun", CLAMPED_PORT, mss_clamp=True),
        ]
        with running(lab, *tables) as site:
            yield site


def route_nat(lab: Lab) -> None:
    """Put the router between the director and NAT's server, and the director behind the router.

    Without the latter its errors, which go to the client, would not pass the director.
    """
    server, router, director = lab.servers[0], lab.router, lab.director
    narrow(lab, server, "back")
    for interface in ("all", "back"):
        router.sysctl(f"net.ipv4.conf.{interface}.send_redirects", "0")
    back, gateway = router.interface("back"), director.interface("back")
    director.ip(
        f"route add {server.addresses.v4}/32 via {back.v4} dev back",
        f"route add {server.addresses.v6}/128 via {back.v6} dev back",
    )
    client = lab.client.addresses
    router.ip(
        f"route add {client.v4}/32 via {gateway.v4} dev back",
        f"route add {client.v6}/128 via {gateway.v6} dev back",
    )


def narrow(lab: Lab, server: Namespace, interface: str) -> None:
    """Make the router's way to a server narrow; locked: for IPv6 only then forwarding minds it."""
    lab.router.ip(
        f"route add {server.addresses.v4}/32 dev {interface} mtu lock {NARROW}",
        f"route add {server.addresses.v6}/128 dev {interface} mtu lock {NARROW}",
    )


def server_of(site: Site, way: str) -> Namespace:
    return next(server for server in site.lab.servers if server.way == way)


def test_a_router_s_error_about_nat_s_request_is_about_the_virtual_address(
    routed_site: Site, family: Family
) -> None:
    client, vip = routed_site.lab.client, routed_site.vip(family)
    forget(client)

    answer = answered(routed_site, family, BY_WAY["nat"] + UDP, MTU)

    assert answer == IcmpError(*TOO_BIG[family], NARROW, vip)
    assert learned_mtu(client, vip) == NARROW


@pytest.mark.parametrize("way", ["nat", "fullnat"], indirect=True)
def test_an_error_about_a_segment_quotes_one_that_the_client_sent(
    routed_site: Site, way: str, family: Family
) -> None:
    lab, place = routed_site.lab, Place("client", "eth0")
    port = BY_WAY[way]
    sent = random.Random(way).randbytes(UPLOAD_BYTES)
    forget(lab.client)

    with captured(lab, [place]) as captures:
        received = uploaded(routed_site, server_of(routed_site, way), family, (port, port), sent)

    assert received == sent
    fits = NARROW - (TOA_BYTES[family] if way == "fullnat" else 0)
    too_big = [each for each in errors(captures, place, family) if each["kind"] == TOO_BIG[family]]
    segments = captures.packets(place, family, "tcp", {port}, replies=False)
    named = ("source", "destination", "source_port", "destination_port", "seq")
    known = [tuple(segment[name] for name in named) for segment in segments]
    # The director learns it, too, over IPv6, and says so of segments that were on the way already.
    learned = {(of(lab.director.addresses, family), NARROW)}
    told = [(error["source"], error["mtu"]) for error in too_big]
    assert told[0] == (routed_site.vip(family), fits)
    assert set(told) - learned == {told[0]}
    for error in too_big:
        assert tuple(error["about"][name] for name in named) in known


def test_a_tunnel_too_narrow_for_segments_is_found_by_the_client(
    routed_site: Site, family: Family
) -> None:
    client, port = routed_site.lab.client, BY_WAY["tun"]
    forget(client)
    before = routed_site.drops["too_big"]

    server = server_of(routed_site, "tun")
    received = uploaded(routed_site, server, family, (port, port), bytes(UPLOAD_BYTES))

    assert received == bytes(UPLOAD_BYTES)
    assert learned_mtu(client, routed_site.vip(family)) == MTU - IP_BYTES[family]
    assert routed_site.drops["too_big"] > before


def test_a_clamped_mss_bounds_what_the_server_sends(routed_site: Site, family: Family) -> None:
    free, clamped = (
        longest_segment(routed_site, port, family) for port in (BY_WAY["tun"], CLAMPED_PORT)
    )

    assert free - clamped == IP_BYTES[family]


def longest_segment(site: Site, port: int, family: Family) -> int:
    """Return how long the segments are that TUN's server may send to the client."""
    forget(site.lab.client)  # it announces no more than the MTU that it knows of
    with (
        listening(site, server_of(site, "tun"), family, port, socket.SOCK_STREAM) as listener,
        opened(site.lab.client, family, socket.SOCK_STREAM) as client,
    ):
        client.connect((site.vip(family), port))
        server, _ = listener.accept()
        with server:
            return server.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


# --- to the director's own addresses ------------------------------------------------------------


@pytest.mark.parametrize("way", ["tun", "fullnat"], indirect=True)
def test_a_router_s_error_reaches_the_client_only_with_a_right_checksum(
    routed_site: Site, way: str, family: Family
) -> None:
    lab, virtual = routed_site.lab, (routed_site.vip(family), BY_WAY[way] + UDP)
    server = server_of(routed_site, way)
    router, director = (of(host.interface("back"), family) for host in (lab.router, lab.director))
    rip = of(server.addresses, family)
    before = routed_site.drops["bad_checksum"]
    with (
        listening(routed_site, server, family, virtual[1]) as listener,
        opened(lab.client, family, socket.SOCK_DGRAM) as client,
    ):
        client.connect(virtual)
        client.send(b"hello")
        peer = listener.recvfrom(100)[1][:2]
        if way == "fullnat":
            error = unreachable(router, peer[0], datagram(peer, (rip, virtual[1])))
        else:
            outer = (IP if family == "v4" else IPv6)(src=director, dst=rip)
            inner = datagram(client.getsockname()[:2], virtual)
            error = unreachable(router, director, outer / inner)

        send_raw(lab.router, spoilt(error))
        assert until(lambda: routed_site.drops["bad_checksum"] == before + 1)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

        send_raw(lab.router, error)
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
    assert routed_site.drops["bad_checksum"] == before + 1
