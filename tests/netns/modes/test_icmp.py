"""ICMP errors about requests reach the client, as if they were about what the client sent."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.wait import until
from tests.netns.modes.hops_talk import CASES, WAYS, prepare
from tests.netns.modes.icmp_site import (
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
    TOO_BIG,
    announced,
    answered,
    datagram,
    error_about,
    forget,
    learned_mtu,
    listening,
    overhead,
    send_raw,
    spoilt,
    unlimit,
    unreachable,
    uploaded,
)
from tests.netns.traffic.icmp_errors import IcmpError, probing
from tests.netns.traffic.site import FAMILIES, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.modes.hops_talk import Case
    from tests.netns.traffic.site import Family, Site

MTU, FAR_MTU = 1500, 1400
"""In bytes: of the client's link and the director's, and of those behind the router."""

NARROW = 1350
"""MTU of the director's way to the servers of NAT and DR, and of the router's to FULLNAT's: less
than the servers know of."""

BY_NAME = {case.name: case for case in CASES}
TUNNELLED = [case.name for case in CASES if case.way == "tun"]
UPLOAD_BYTES = 300_000


@pytest.fixture(scope="module")
def icmp_site() -> Iterator[Site]:
    """Have a service of every case, TCP and UDP; nobody listens on the real servers."""
    with Lab(name="lvsd-icmp", ways=WAYS, mtu=MTU, far_mtu=FAR_MTU) as lab:
        prepare(lab)
        unlimit(lab)
        narrow(lab)
        tables = [
            case.table(lab, family, protocol)
            for case in CASES
            for family in FAMILIES
            for protocol in ("tcp", "udp")
        ]
        with running(lab, *tables) as site:
            yield site


def narrow(lab: Lab) -> None:
    """Make the ways to the servers of NAT, DR and FULLNAT narrow where they leave a host."""
    ways = {"nat": (lab.director, "back"), "dr": (lab.director, "back")}
    ways["fullnat"] = lab.router, "far"
    for server in lab.servers:
        if server.way in ways:
            host, interface = ways[server.way]
            host.ip(
                f"route add {server.addresses.v4}/32 dev {interface} mtu {NARROW}",
                f"route add {server.addresses.v6}/128 dev {interface} mtu {NARROW}",
            )


@pytest.fixture(params=BY_NAME)
def case(request: pytest.FixtureRequest) -> Case:
    """Run the test for every case, or those that it names."""
    return BY_NAME[request.param]


# --- who answers, and about what --------------------------------------------------------------


def test_a_closed_port_of_a_real_server_is_the_virtual_service_s(
    icmp_site: Site, case: Case, family: Family
) -> None:
    with probing(icmp_site, family, case.vport) as sock:
        sock.send(b"anybody?")
        answer, quoted = error_about(sock, family)

    assert answer == IcmpError(*PORT_UNREACHABLE[family], 0, icmp_site.vip(family))
    assert quoted == b"anybody?"


@pytest.mark.parametrize("ttl", [1, 2, 3])
def test_a_traceroute_sees_the_director_and_then_the_virtual_address(
    icmp_site: Site, case: Case, family: Family, ttl: int
) -> None:
    director = IcmpError(*TIME_EXCEEDED[family], 0, of(icmp_site.lab.director.addresses, family))
    virtual = IcmpError(*TIME_EXCEEDED[family], 0, icmp_site.vip(family))
    there = IcmpError(*PORT_UNREACHABLE[family], 0, icmp_site.vip(family))
    expected = {
        "nat": (director, there, there),
        "dr": (director, there, there),
        # The router behind the director knows the tunnel only, and FULLNAT's ends only.
        "tun": (director, director, there),
        "fullnat": (director, virtual, there),
    }[case.way]

    with probing(icmp_site, family, case.vport, ttl) as sock:
        sock.send(b"how far?")
        answer, quoted = error_about(sock, family)

    assert (answer, quoted) == (expected[ttl - 1], b"how far?")


# --- the path's MTU ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", TUNNELLED, indirect=True)
def test_a_packet_too_long_for_its_tunnel_is_refused_with_what_fits(
    icmp_site: Site, case: Case, family: Family
) -> None:
    client, vip = icmp_site.lab.client, icmp_site.vip(family)
    director = of(icmp_site.lab.director.addresses, family)
    fits = MTU - overhead(case, family)
    fits_behind = FAR_MTU - overhead(case, family)
    # IPv6 cannot say "do not fragment" in the IPv4 header of its tunnel, so routers cut that.
    is_cut = family == "v6" and case.mixed
    forget(client)

    first = answered(icmp_site, family, case.vport, MTU)
    second = answered(icmp_site, family, case.vport, fits)

    assert first == IcmpError(*TOO_BIG[family], fits, director)
    if is_cut:
        assert second == IcmpError(*PORT_UNREACHABLE[family], 0, vip)
        assert learned_mtu(client, vip) == fits
    else:
        assert second == IcmpError(*TOO_BIG[family], fits_behind, director)
        assert learned_mtu(client, vip) == fits_behind


NARROWED = [case.name for case in CASES if case.way != "tun"]


@pytest.mark.parametrize("case", NARROWED, indirect=True)
def test_a_packet_too_long_for_a_way_behind_is_refused_with_what_fits(
    icmp_site: Site, case: Case, family: Family
) -> None:
    client, vip = icmp_site.lab.client, icmp_site.vip(family)
    fits = NARROW - announced(case, family)
    director = of(icmp_site.lab.director.addresses, family)
    forget(client)

    # One that fits the router's link: else its IPv6 would first tell that link's MTU.
    answer = answered(icmp_site, family, case.vport, FAR_MTU - announced(case, family))

    # The router told a local address; to the client the virtual one stands for all behind it.
    offender = vip if case.way == "fullnat" else director
    assert answer == IcmpError(*TOO_BIG[family], fits, offender)
    assert learned_mtu(client, vip) == fits


def test_an_upload_finds_the_mtu_and_arrives(icmp_site: Site, case: Case, family: Family) -> None:
    lab, vip = icmp_site.lab, icmp_site.vip(family)
    sent = random.Random(case.name).randbytes(UPLOAD_BYTES)
    forget(lab.client)

    received = uploaded(icmp_site, case.server(lab), family, (case.vport, case.rport), sent)

    assert received[-UPLOAD_BYTES:] == sent
    if case.way == "tun":
        is_cut = family == "v6" and case.mixed
        assert learned_mtu(lab.client, vip) == (
            None if is_cut else FAR_MTU - overhead(case, family)
        )
    else:
        option = {"v4": 8, "v6": 20}[family] if case.kind == "toa" else 0
        assert learned_mtu(lab.client, vip) == NARROW - option


# --- errors about replies ---------------------------------------------------------------------


def test_the_server_learns_that_its_client_has_gone(
    icmp_site: Site, case: Case, family: Family
) -> None:
    with listening(icmp_site, case.server(icmp_site.lab), family, case.rport) as server:
        with opened(icmp_site.lab.client, family, socket.SOCK_DGRAM) as client:
            client.sendto(b"and away", (icmp_site.vip(family), case.vport))
            peer = server.recvfrom(100)[1]
        server.connect(peer[:2])
        server.send(b"too late")

        with pytest.raises(ConnectionRefusedError):
            server.recv(100)


def test_an_error_with_a_wrong_checksum_is_dropped(
    icmp_site: Site, case: Case, family: Family
) -> None:
    lab, virtual = icmp_site.lab, (icmp_site.vip(family), case.vport)
    before = icmp_site.drops["bad_checksum"]
    with (
        listening(icmp_site, case.server(icmp_site.lab), family, case.rport) as server,
        opened(lab.client, family, socket.SOCK_DGRAM) as client,
    ):
        client.connect(virtual)
        client.send(b"hello")
        server.connect(server.recvfrom(100)[1][:2])
        me = client.getsockname()[:2]
        error = unreachable(me[0], virtual[0], datagram(virtual, me))

        send_raw(lab.client, spoilt(error))
        assert until(lambda: icmp_site.drops["bad_checksum"] == before + 1)
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

        send_raw(lab.client, error)
        with pytest.raises(ConnectionRefusedError):
            server.recv(100)
    assert icmp_site.drops["bad_checksum"] == before + 1
