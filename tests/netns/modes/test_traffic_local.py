"""Real servers that are the director itself, beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs, real_server
from tests.netns.modes.site import MAPPED, assert_in_turn, forwarded, locals_of, sha256
from tests.netns.traffic.site import PATIENCE_S, endpoints, running
from tests.netns.traffic.sockets import MAX_DATAGRAM, udp, udp_echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

DIRECT, TUNNELLED, TRANSLATED, BOTH_ENDS, ECHO, MAPPED_ECHO = 80, 81, 82, 83, 7, 7007


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have the director serve in each way beside a server of its own kind."""
    with (
        Lab(name="lvsd-modes", ways=("nat", "dr", "tun", "fullnat")) as lab,
        udp_echo(lab.director, 7007),
    ):
        for server in (*lab.servers, lab.director):
            programs.nginx(server, ports=[DIRECT, TUNNELLED, MAPPED])
        nat, dr, tun, fullnat = lab.servers
        for server in (dr, tun):
            real_server.up(server, lab.vip)
        with running(
            lab,
            forwarded(lab, "dr", DIRECT, servers=[dr, lab.director], interface="lo"),
            forwarded(lab, "tun", TUNNELLED, servers=[tun, lab.director], interface="lo"),
            forwarded(lab, "nat", TRANSLATED, servers=[nat, lab.director], rport=MAPPED),
            forwarded(lab, "fullnat", BOTH_ENDS, servers=[fullnat, lab.director], rport=MAPPED),
            forwarded(lab, "nat", ECHO, servers=[lab.director], rport=MAPPED_ECHO, protocol="udp"),
        ) as site:
            yield site


OTHER = {DIRECT: "server2", TUNNELLED: "server3", TRANSLATED: "server1", BOTH_ENDS: "server4"}


@pytest.mark.parametrize("port", OTHER)
def test_the_director_answers_in_its_turn_and_sees_the_client(
    site: Site, family: Family, port: int
) -> None:
    answers = [site.get(family, port, source=7) for _ in range(4)]

    assert_in_turn([answer.server for answer in answers], ["director", OTHER[port]])
    seen = {answer.seen for answer in answers}
    if port == BOTH_ENDS:
        assert seen <= set(locals_of(site.lab, family))
    else:
        assert seen == {site.source(family, 7)}


@pytest.mark.parametrize("port", OTHER)
def test_twenty_megabytes_go_up_and_down_unharmed(site: Site, family: Family, port: int) -> None:
    client = site.lab.client
    sent = programs.payload(client)
    name, down = f"up-{port}-{family}", client.directory / "down"
    upload, page = (site.url(family, port, path) for path in (f"/upload/{name}", "/file"))

    while site.get(family, port).server == "director":
        pass  # until the director's turn is next
    client.run(["curl", "-sS", "--fail", "-T", sent, upload])
    assert site.get(family, port).server == OTHER[port]
    client.run(["curl", "-sS", "--fail", "-o", down, page])

    assert sha256(down) == sha256(sent)
    assert sha256(programs.uploaded(site.lab.director, name)) == sha256(sent)


def test_lvsadm_says_that_they_are_local(site: Site, family: Family) -> None:
    shown = [line.split() for line in site.lvsadm("-L", "-n").splitlines()]

    ways = [
        (DIRECT, "Local"),
        (TUNNELLED, "Local"),
        (MAPPED, "Masq"),
        (MAPPED, "FullNat"),
        (MAPPED_ECHO, "Masq"),
    ]
    own = {(endpoints([site.lab.director], family, port)[0], way) for port, way in ways}
    addresses = {address for address, _ in own}
    assert {(row[1], row[2]) for row in shown if len(row) > 2 and row[1] in addresses} == own


@pytest.mark.parametrize("length", [1, 3000])
def test_datagrams_are_translated_for_the_director_too(
    site: Site, family: Family, length: int
) -> None:
    data = bytes(number * 7 & 0xFF for number in range(length))

    with udp(site.lab.client, family) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendto(data, (site.vip(family), ECHO))
        answer, peer = sock.recvfrom(MAX_DATAGRAM)

    assert peer[:2] == (site.vip(family), ECHO)
    assert answer == b"director " + data


def test_the_virtual_address_is_known_as_the_directors_from_the_first_packet_on(
    site: Site, family: Family
) -> None:
    site.visits(family, DIRECT, 2)

    assert site.drops["not_local"] == 0
    assert "the VIP is not" not in site.daemon.log
