"""UDP datagrams through the director: large ones, and one-packet scheduling."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.wait import until
from tests.netns.traffic.site import PATIENCE_S, both, running
from tests.netns.traffic.sockets import MAX_DATAGRAM, udp, udp_echoes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site
    from tests.netns.traffic.sockets import Echo

ECHO, MAPPED, ONE_PACKET = 7, 7007, 8007

JUMBO = 9000
HEADERS = {"v4": 28, "v6": 48}
"""Bytes of the IP and UDP header."""

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2


@pytest.fixture(scope="module")
def echoes(lab: Lab) -> Iterator[list[Echo]]:
    """Run a server in every real server."""
    with udp_echoes(lab.servers, MAPPED) as echoes:
        yield echoes


@pytest.fixture(scope="module")
def site(lab: Lab, echoes: list[Echo]) -> Iterator[Site]:
    """Serve echo as usual, and packet by packet."""
    del echoes
    with running(
        lab,
        both(lab, ECHO, MAPPED, protocol="udp"),
        both(lab, ONE_PACKET, MAPPED, protocol="udp", one_packet=True),
    ) as site:
        yield site


def exchange(sock: socket.socket, address: tuple[str, int], data: bytes) -> tuple[str, bytes]:
    """Send a datagram, wait for the answer from the same address; return who said what."""
    sock.sendto(data, address)
    answer, peer = sock.recvfrom(MAX_DATAGRAM)
    assert peer[:2] == address
    name, _, said = answer.partition(b" ")
    return name.decode(), said


def test_datagrams_of_one_socket_go_to_one_server(site: Site, family: Family) -> None:
    with udp(site.lab.client, family) as sock:
        address = site.vip(family), ECHO
        names = {exchange(sock, address, b"%d" % number)[0] for number in range(10)}

    assert len(names) == 1


def test_sockets_are_spread_over_the_servers(site: Site, family: Family) -> None:
    names = []
    for _ in range(6):
        with udp(site.lab.client, family) as sock:
            names.append(exchange(sock, (site.vip(family), ECHO), b"?")[0])

    assert sorted(names[:3]) == ["server1", "server2", "server3"]
    assert names[:3] == names[3:]


@pytest.mark.parametrize("length", [0, 1, 1400, 3000, 9000, 65000])
def test_a_datagram_passes_both_ways_whatever_its_length(
    site: Site, family: Family, length: int
) -> None:
    data = bytes(number * 7 & 0xFF for number in range(length))

    with udp(site.lab.client, family) as sock:
        assert exchange(sock, (site.vip(family), ECHO), data)[1] == data


def test_one_packet_scheduling_picks_for_every_packet_and_keeps_no_entry(
    site: Site, echoes: list[Echo], family: Family
) -> None:
    before = len(site.connections)
    mark = f"one packet {family}".encode()

    with udp(site.lab.client, family) as sock:
        for _ in range(9):
            sock.sendto(mark, (site.vip(family), ONE_PACKET))
    assert until(lambda: sum(heard(echo, mark) for echo in echoes) == 9, PATIENCE_S)

    assert [heard(echo, mark) for echo in echoes] == [3, 3, 3]
    assert len(site.connections) == before


def heard(echo: Echo, data: bytes) -> int:
    return [said for _, said in echo.heard].count(data)


@pytest.fixture(scope="module")
def jumbo_site() -> Iterator[Site]:
    """Give the links an MTU of 9000."""
    with (
        Lab(name="lvsd-traffic", servers=1, mtu=JUMBO) as lab,
        udp_echoes(lab.servers, MAPPED),
        running(lab, both(lab, ECHO, MAPPED, protocol="udp")) as site,
    ):
        yield site


def test_a_packet_of_nine_thousand_bytes_passes_whole(jumbo_site: Site, family: Family) -> None:
    data = bytes(range(256)) * 36
    data = data[: JUMBO - HEADERS[family]]

    with udp(jumbo_site.lab.client, family) as sock:
        forbid_fragments(sock, family)
        sock.sendto(data, (jumbo_site.vip(family), ECHO))
        answer = sock.recv(MAX_DATAGRAM)

    assert answer == b"server1 " + data


def forbid_fragments(sock: socket.socket, family: Family) -> None:
    if family == "v4":
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
