"""What lvsd does when it is full, and what it leaves alone when it is told to."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.traffic.site import SOCKET_FAMILIES, Site, both, complaints
from tests.netns.traffic.sockets import opened, udp, udp_echoes
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family

PORT, RPORT = 7, 7007
WEB, RWEB = 80, 8080
SILENT, RSILENT = 53, 5353
ROOM = 5
RESERVED = 1
"""How much of so small a table the service of the other family is sure of."""
FLOOD_ROOM = 200
FLOOD_PORTS = 20_000
"""The first source port of a flood."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have one echo server."""
    with Lab(name="lvsd-traffic", servers=1) as lab, udp_echoes(lab.servers, RPORT):
        yield lab


@contextlib.contextmanager
def started(lab: Lab, *settings: str, and_services: str = "") -> Iterator[Site]:
    """Run lvsd with these lines at the top of its configuration, and more services."""
    services = both(lab, PORT, RPORT, protocol="udp") + and_services
    text = "\n".join([*settings, services])
    daemon = programs.lvsd(lab.director, text)
    yield Site(lab, daemon)
    assert (daemon.stop(), complaints(daemon.log_file)) == (0, [])


def test_a_full_table_refuses_the_new_and_keeps_the_old(lab: Lab, family: Family) -> None:
    with (
        started(lab, "[daemon]", f"max_connections = {ROOM + RESERVED}") as site,
        contextlib.ExitStack() as stack,
    ):
        socks = [stack.enter_context(udp(lab.client, family)) for _ in range(ROOM + 1)]
        for sock in socks:
            sock.connect((site.vip(family), PORT))
        for sock in socks[:ROOM]:
            sock.send(b"first")
            assert sock.recv(100) == b"server1 first"

        socks[ROOM].send(b"one too many")
        assert until(lambda: site.drops["table_full"] == 1)
        for sock in socks[:ROOM]:
            sock.send(b"second")
            assert sock.recv(100) == b"server1 second"


def test_a_flood_of_one_service_does_not_shut_clients_of_another_out(
    lab: Lab, family: Family
) -> None:
    services = both(lab, WEB, RWEB, protocol="tcp") + both(lab, SILENT, RSILENT, protocol="udp")
    room = f"max_connections = {FLOOD_ROOM}"
    with (
        opened(lab.servers[0], "v6", socket.SOCK_STREAM) as listener,
        opened(lab.servers[0], "v6", socket.SOCK_DGRAM) as unread,
        started(lab, "[daemon]", room, and_services=services) as site,
    ):
        unread.bind(("::", RSILENT))
        listener.bind(("::", RWEB))
        listener.listen(FLOOD_ROOM)
        with lab.client.entered():
            for port in range(FLOOD_PORTS, FLOOD_PORTS + 3 * FLOOD_ROOM):
                with socket.socket(SOCKET_FAMILIES[family], socket.SOCK_DGRAM) as sock:
                    sock.bind(("", port))
                    sock.sendto(b"", (site.vip(family), SILENT))
        assert until(lambda: site.call("status")["groups"]["table"]["evicted"] >= FLOOD_ROOM)

        with contextlib.ExitStack() as stack:
            for _ in range(FLOOD_ROOM // 10):
                sock = stack.enter_context(opened(lab.client, family, socket.SOCK_STREAM))
                sock.connect((site.vip(family), WEB))
        assert site.drops["table_full"] == 0


def test_forwarding_is_left_to_the_operator_who_says_so(lab: Lab, family: Family) -> None:
    director = lab.director
    director.sysctl("net.ipv4.ip_forward", "1")
    director.sysctl("net.ipv6.conf.all.forwarding", "1")
    before = state(director)

    with started(lab, "[sysctl]", "forwarding = false") as site, udp(lab.client, family) as sock:
        sock.sendto(b"hello", (site.vip(family), PORT))
        assert sock.recv(100) == b"server1 hello"
        during = changes(before, state(director))

    assert set(during) == {"ruleset"}
    assert changes(before, state(director)) == {}
