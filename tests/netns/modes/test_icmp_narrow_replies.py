"""A narrow way between the router and the client: the server whose replies are too long learns."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, real_server
from lvsd.lab.plan import WAYS
from tests.netns.modes.icmp_site import learned_mtu, listening, unlimit
from tests.netns.modes.site import forwarded, reached
from tests.netns.traffic.site import PATIENCE_S, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

NARROW = 1300
"""MTU in bytes of the router's way to the client."""

SOURCES = range(5, 9)
"""The client's addresses that the narrow way leads to: one per way, so that nobody knows of it."""

DOWNLOAD_BYTES = 20_000
PORTS = dict(zip(WAYS, range(7001, 7005), strict=True))


@pytest.fixture(scope="module")
def narrow_site() -> Iterator[Site]:
    """Have two servers of each way, and replies to some of the client's addresses go by the router.

    DR's and TUN's do so anyway. NAT's and FULLNAT's go on from the director to the router, so
    that its errors are about packets of the VIP.
    """
    with Lab(name="lvsd-icmp", ways=[way for way in WAYS for _ in range(2)]) as lab:
        for space in lab.servers:
            real_server.up(space, lab.vip)
        unlimit(lab)
        # The director is on the router's own link, which the router would tell it of.
        for interface in ("all", "front"):
            lab.router.sysctl(f"net.ipv4.conf.{interface}.send_redirects", "0")
        for number in SOURCES:
            source = lab.client.sources[number]
            lab.router.ip(
                f"route add {source.v4}/32 dev front mtu lock {NARROW}",
                f"route add {source.v6}/128 dev front mtu lock {NARROW}",
            )
            front = lab.router.interface("front")
            lab.director.ip(
                f"route add {source.v4}/32 via {front.v4} dev front",
                f"route add {source.v6}/128 via {front.v6} dev front",
            )
        with running(lab, *(forwarded(lab, way, port) for way, port in PORTS.items())) as site:
            yield site


def test_the_server_that_answers_learns_the_mtu_and_no_other(
    narrow_site: Site, way: str, family: Family
) -> None:
    lab = narrow_site.lab
    servers = reached(lab, way)
    source = narrow_site.source(family, SOURCES[WAYS.index(way)])

    received, answered = downloaded(narrow_site, servers, way, family, source)

    [other] = [server for server in servers if server is not answered]
    ends = [source]
    if way == "fullnat":
        ends = [of(pair, family) for pair in lab.local_addresses]
    assert received == bytes(DOWNLOAD_BYTES)
    assert NARROW in [learned_mtu(answered, end) for end in ends]
    assert [learned_mtu(other, end) for end in ends] == [None] * len(ends)


def downloaded(
    site: Site, servers: list[Namespace], way: str, family: Family, source: str
) -> tuple[bytes, Namespace]:
    """Have one server send data; return what the client received, and which server it was."""
    port = PORTS[way]
    with contextlib.ExitStack() as stack:
        listeners = {
            stack.enter_context(listening(site, server, family, port, socket.SOCK_STREAM)): server
            for server in servers
        }
        client = stack.enter_context(opened(site.lab.client, family, socket.SOCK_STREAM))
        client.bind((source, 0))
        client.connect((site.vip(family), port))
        [[ready], _, _] = select.select(listeners, [], [], PATIENCE_S)
        answering, _ = ready.accept()
        with answering:
            answering.settimeout(PATIENCE_S)
            answering.sendall(bytes(DOWNLOAD_BYTES))
        return b"".join(iter(lambda: client.recv(1 << 16), b"")), listeners[ready]
