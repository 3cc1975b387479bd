"""ICMP errors reach the client, about the packets that it sent itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.modes.site import sha256
from tests.netns.traffic.icmp_errors import IcmpError, error, probing
from tests.netns.traffic.site import PATIENCE_S, both, of, running
from tests.netns.traffic.sockets import opened, udp_echoes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

ECHO, CLOSED, DRAINED, EMPTY, WEB = 7, 8, 80, 81, 8080
"""Ports: a service that answers, one whose server does not listen, two without a usable server."""

MAPPED = 7007
GONE, GONE_MAPPED = 9, 7009
"""A service of one server, whose socket the test holds itself."""

TIME_EXCEEDED = {"v4": (11, 0), "v6": (3, 0)}
PORT_UNREACHABLE = {"v4": (3, 3), "v6": (1, 4)}
TOO_BIG = {"v4": (3, 4), "v6": (2, 0)}

NARROW = 1300
"""MTU in bytes of the way to the real servers, where it is less than the client's."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Services with and without a server that can answer."""
    with (
        udp_echoes(lab.servers, MAPPED),
        running(
            lab,
            both(lab, ECHO, MAPPED, protocol="udp"),
            both(lab, CLOSED, 7999, protocol="udp"),
            both(lab, GONE, GONE_MAPPED, servers=slice(1), protocol="udp"),
            both(lab, DRAINED, 8080, weights=[0, 0, 0]),
            both(lab, EMPTY, 8080, servers=slice(0)),
            both(lab, EMPTY, 8080, servers=slice(0), protocol="udp"),
        ) as site,
    ):
        yield site


def test_a_packet_whose_time_ends_at_the_director_is_answered_by_it(
    site: Site, family: Family
) -> None:
    before = site.drops["ttl_expired"]

    with probing(site, family, ECHO, ttl=1) as sock:
        sock.send(b"how far?")
        answer = error(sock, family)

    director = of(site.lab.director.addresses, family)
    assert answer == IcmpError(*TIME_EXCEEDED[family], 0, director)
    assert site.drops["ttl_expired"] == before + 1


def test_one_hop_more_reaches_the_real_server(site: Site, family: Family) -> None:
    with probing(site, family, ECHO, ttl=2) as sock:
        sock.send(b"how far?")

        assert sock.recv(100).endswith(b"how far?")


def test_a_closed_port_of_a_real_server_is_the_virtual_service_s(
    site: Site, family: Family
) -> None:
    with probing(site, family, CLOSED) as sock:
        sock.send(b"anybody?")
        answer = error(sock, family)

    assert answer == IcmpError(*PORT_UNREACHABLE[family], 0, site.vip(family))


def test_the_client_s_socket_says_connection_refused(site: Site, family: Family) -> None:
    with opened(site.lab.client, family, socket.SOCK_DGRAM) as sock:
        sock.connect((site.vip(family), CLOSED))
        sock.send(b"anybody?")

        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


@pytest.mark.parametrize("port", [DRAINED, EMPTY], ids=["weight-zero", "no-servers"])
def test_a_service_without_a_usable_server_refuses_at_once(
    site: Site, family: Family, port: int
) -> None:
    before = site.drops["no_server"]

    with (
        opened(site.lab.client, family, socket.SOCK_STREAM) as sock,
        pytest.raises(ConnectionRefusedError),
    ):
        sock.connect((site.vip(family), port))

    assert site.drops["no_server"] == before + 1


def test_an_empty_udp_service_answers_port_unreachable(site: Site, family: Family) -> None:
    with probing(site, family, EMPTY) as sock:
        sock.send(b"anybody?")
        answer = error(sock, family)

    director = of(site.lab.director.addresses, family)
    assert answer == IcmpError(*PORT_UNREACHABLE[family], 0, director)


def test_the_server_learns_that_its_client_has_gone(site: Site, family: Family) -> None:
    server = site.lab.servers[0]
    with opened(server, family, socket.SOCK_DGRAM) as reply_to:
        reply_to.bind((of(server.addresses, family), GONE_MAPPED))
        with opened(site.lab.client, family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"and away", (site.vip(family), GONE))
            peer = reply_to.recvfrom(100)[1]
        reply_to.connect(peer[:2])
        reply_to.send(b"too late")

        with pytest.raises(ConnectionRefusedError):
            reply_to.recv(100)


# --- the path's MTU ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow_site() -> Iterator[Site]:
    """Have a way to the real server whose MTU is smaller than anybody's link."""
    with Lab(name="lvsd-traffic", servers=1) as lab:
        [server] = lab.servers
        programs.nginx(server, ports=[8080])
        lab.director.ip(
            f"route add {server.addresses.v4}/32 dev back mtu {NARROW}",
            f"route add {server.addresses.v6}/128 dev back mtu {NARROW}",
        )
        with (
            udp_echoes(lab.servers, MAPPED),
            running(lab, both(lab, WEB, 8080), both(lab, ECHO, MAPPED, protocol="udp")) as site,
        ):
            yield site


def test_a_packet_too_big_is_refused_with_the_mtu(narrow_site: Site, family: Family) -> None:
    before = narrow_site.drops["too_big"]

    with probing(narrow_site, family, ECHO) as sock:
        sock.send(bytes(1400))
        answer = error(sock, family)

    director = of(narrow_site.lab.director.addresses, family)
    assert answer == IcmpError(*TOO_BIG[family], NARROW, director)
    assert narrow_site.drops["too_big"] == before + 1


def test_an_upload_finds_the_mtu_and_arrives(narrow_site: Site, family: Family) -> None:
    client, [server] = narrow_site.lab.client, narrow_site.lab.servers
    for version in ("-4", "-6"):  # forget what other tests have taught the client
        client.run(["ip", version, "route", "flush", "cache"])
    before = narrow_site.drops["too_big"]
    sent = programs.payload(client)
    name = f"narrow-{family}"

    target = narrow_site.url(family, WEB, f"/upload/{name}")
    client.run(["curl", "-sS", "--fail", "-T", sent, target])

    assert sha256(programs.uploaded(server, name)) == sha256(sent)
    assert narrow_site.drops["too_big"] > before


def test_a_download_over_a_narrow_way_to_the_client_arrives(
    narrow_site: Site, family: Family
) -> None:
    client, director = narrow_site.lab.client, narrow_site.lab.director
    source, prefix = narrow_site.source(family, 3), {"v4": 32, "v6": 128}[family]
    target = client.directory / f"narrow-{family}"
    director.ip(f"route add {source}/{prefix} dev front mtu {NARROW}")

    url = narrow_site.url(family, WEB, "/file")
    client.run(["curl", "-sS", "--fail", "--interface", source, "-o", target, url])

    assert sha256(target) == sha256(programs.payload(client))


def test_a_link_that_becomes_narrow_is_noticed_while_running(family: Family) -> None:
    with (
        Lab(name="lvsd-traffic", servers=1) as lab,
        running(lab, both(lab, ECHO, MAPPED, protocol="udp")) as site,
        probing(site, family, ECHO) as sock,
    ):
        lab.director.ip(f"link set back mtu {NARROW}")

        def is_told() -> bool:
            sock.send(bytes(1400))
            try:
                return error(sock, family, timeout_s=0.1).info == NARROW
            except TimeoutError:  # lvsd has not heard of it yet
                return False

        assert until(is_told, PATIENCE_S)
