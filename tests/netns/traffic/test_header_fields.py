"""What stands in the headers passes as it should: TTL, options, extension headers, no checksum."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.netns.traffic.site import both, endpoints, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PORT, RPORT = 7, 7007
TTL = 64
TOS = 0xB8
"""Expedited forwarding (RFC 3246), as telephones send it."""

SO_NO_CHECK = 11
IP_RECVOPTS, IP_RECVTTL = 6, 12
"""Socket options that Python does not name (linux/in.h)."""

LEVELS = {"v4": socket.IPPROTO_IP, "v6": socket.IPPROTO_IPV6}
WATCHED = {
    "v4": (IP_RECVTTL, socket.IP_RECVTOS, IP_RECVOPTS),
    "v6": (socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS, socket.IPV6_RECVDSTOPTS),
}
FIELDS = {
    "v4": (socket.IP_TTL, socket.IP_TOS, IP_RECVOPTS),
    "v6": (socket.IPV6_HOPLIMIT, socket.IPV6_TCLASS, socket.IPV6_DSTOPTS),
}
"""What is asked for, and how it is named when it comes: TTL, type of service, options."""

RECORD_ROUTE = bytes([7, 11, 4, *bytes(8), 0])
"""IPv4 option (RFC 791): two routers may write down their address; and its end."""

DESTINATION_OPTIONS = bytes([0, 0, 1, 4, 0, 0, 0, 0])
"""IPv6 extension header with padding only; its first byte is the kernel's."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Have one server, whose end of the conversation the test holds itself."""
    with running(lab, both(lab, PORT, RPORT, servers=slice(1), protocol="udp")) as site:
        yield site


@pytest.fixture
def server(site: Site, family: Family) -> Iterator[socket.socket]:
    """Open the real server's socket."""
    with opened(site.lab.servers[0], family, socket.SOCK_DGRAM) as sock:
        sock.bind((of(site.lab.servers[0].addresses, family), RPORT))
        watch(sock, family)
        yield sock


@pytest.fixture
def client(site: Site, family: Family) -> Iterator[socket.socket]:
    """Open the client's socket, connected to the virtual service."""
    with opened(site.lab.client, family, socket.SOCK_DGRAM) as sock:
        watch(sock, family)
        sock.connect((site.vip(family), PORT))
        yield sock


class Received(NamedTuple):
    """A datagram, who sent it, and the fields of its IP header."""

    data: bytes
    peer: tuple[str, int]
    ttl: int
    tos: int
    options: bytes


def watch(sock: socket.socket, family: Family) -> None:
    """Ask for the fields of what comes in."""
    level = LEVELS[family]
    for option in WATCHED[family]:
        sock.setsockopt(level, option, 1)


def received(sock: socket.socket, family: Family) -> Received:
    data, ancillary, _, peer = sock.recvmsg(2048, 256)
    fields = {kind: value for _, kind, value in ancillary}
    ttl, tos, options = (fields.get(kind, b"") for kind in FIELDS[family])
    return Received(
        data, peer[:2], int.from_bytes(ttl, "little"), int.from_bytes(tos, "little"), options
    )


def test_the_ttl_falls_by_one_in_both_directions(
    client: socket.socket, server: socket.socket, family: Family
) -> None:
    client.send(b"request")
    request = received(server, family)
    server.sendto(b"reply", request.peer)
    reply = received(client, family)

    assert (request.data, request.ttl) == (b"request", TTL - 1)
    assert (reply.data, reply.ttl) == (b"reply", TTL - 1)


def test_the_type_of_service_is_kept_in_both_directions(
    client: socket.socket, server: socket.socket, family: Family
) -> None:
    option = socket.IP_TOS if family == "v4" else socket.IPV6_TCLASS
    for sock in (client, server):
        sock.setsockopt(LEVELS[family], option, TOS)

    client.send(b"ring")
    request = received(server, family)
    server.sendto(b"hello?", request.peer)

    assert request.tos == TOS
    assert received(client, family).tos == TOS


def test_options_between_the_headers_are_kept(
    client: socket.socket, server: socket.socket, family: Family
) -> None:
    option, value = (
        (socket.IP_OPTIONS, RECORD_ROUTE)
        if family == "v4"
        else (socket.IPV6_DSTOPTS, DESTINATION_OPTIONS)
    )
    for sock in (client, server):
        sock.setsockopt(LEVELS[family], option, value)

    client.send(b"with options")
    request = received(server, family)
    server.sendto(b"answer", request.peer)
    reply = received(client, family)

    assert (request.data, reply.data) == (b"with options", b"answer")
    assert [len(got.options) for got in (request, reply)] == [len(value), len(value)]


@pytest.mark.parametrize("family", ["v4"], indirect=True)
def test_a_datagram_without_a_checksum_arrives(
    client: socket.socket, server: socket.socket, family: Family
) -> None:
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)

    client.send(b"unsummed")
    request = received(server, family)
    server.sendto(b"neither", request.peer)

    assert (request.data, received(client, family).data) == (b"unsummed", b"neither")


def test_the_server_sees_the_client_and_the_client_the_virtual_address(
    site: Site, client: socket.socket, server: socket.socket, family: Family
) -> None:
    client.send(b"who?")
    peer = server.recvfrom(100)[1]

    assert peer[:2] == client.getsockname()[:2]
    assert client.getpeername()[:2] == (site.vip(family), PORT)
    [entry] = [entry for entry in site.connections if entry["client_port"] == peer[1]]
    assert f"{entry['server']}:{entry['server_port']}" in {
        name.replace("[", "").replace("]", "")
        for name in endpoints(site.lab.servers[:1], family, RPORT)
    }
