"""Servers reached in four ways behind one address, and services of marks, any port, persistence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs, real_server, settings
from lvsd.lab.plan import WAYS
from tests.netns.modes.site import (
    MAPPED,
    assert_in_turn,
    forwarded,
    locals_of,
    reached,
    sha256,
)
from tests.netns.traffic.site import FAMILIES, endpoints, of, running, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

MIXED, PERSISTENT = 80, 81
"""Ports of the service that has a server of every way, and of the one whose clients stay."""

MARKED = {"dr": (90, 91), "fullnat": (92, 93)}
"""Ports that the operator marks, by the way of their service; the mark is the first of them."""

ANY_PORT = 100, 101
"""Ports that only the service of any port takes."""

PORTS = [MIXED, MAPPED, *ANY_PORT, *MARKED["dr"], *MARKED["fullnat"]]


def mixed(lab: Lab, family: Family) -> str:
    """Return the table of a service whose every server says itself how it is reached."""
    servers: dict[str, dict[str, object]] = {}
    for way in WAYS:
        rport = MAPPED if way in {"nat", "fullnat"} else MIXED
        for endpoint in endpoints(reached(lab, way)[:1], family, rport):
            servers[endpoint] = {"forward": way}
    return table(
        f"tcp-{MIXED}-{family}",
        servers,
        address=settings.at(of(lab.vip, family), MIXED),
        protocol="tcp",
        scheduler="rr",
        local_addresses=locals_of(lab, family),
    )


def marked(lab: Lab, family: Family, way: str) -> str:
    """Return the table of a service of a firewall mark: servers get the port that was asked for."""
    own = {"local_addresses": locals_of(lab, family)} if way == "fullnat" else {}
    return table(
        f"mark-{way}-{family}",
        dict.fromkeys(endpoints(reached(lab, way), family, 0), 1),
        fwmark=MARKED[way][0],
        family=4 if family == "v4" else 6,
        scheduler="rr",
        forward=way,
        **own,
    )


def marking(lab: Lab) -> str:
    """Return the operator's rules that mark."""
    rules = "\n".join(
        f"{ip} daddr {vip} tcp dport {{ {ports[0]}, {ports[1]} }} meta mark set {ports[0]}"
        for ports in MARKED.values()
        for ip, vip in (("ip", lab.vip.v4), ("ip6", lab.vip.v6))
    )
    hook = "type filter hook prerouting priority raw;"
    return f"table inet operator {{ chain marks {{ {hook}\n{rules}\n }}\n }}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have one server for NAT and TUN, two for DR and FULLNAT."""
    with Lab(name="lvsd-modes", ways=(*WAYS, "dr", "fullnat")) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=PORTS)
            real_server.up(server, lab.vip)
        lab.director.run(["nft", "-f", "-"], input=marking(lab))
        tables = [mixed(lab, family) for family in FAMILIES]
        tables += [marked(lab, family, way) for family in FAMILIES for way in MARKED]
        persistent = forwarded(lab, "fullnat", PERSISTENT, rport=MAPPED, persistence_s=300)
        any_port = forwarded(lab, "dr", 0, persistence_s=300)
        with running(lab, *tables, persistent, any_port) as site:
            yield site


def test_servers_of_all_ways_answer_in_turn(site: Site, family: Family) -> None:
    answers = site.visits(family, MIXED, 8)

    first = [reached(site.lab, way)[0].host for way in WAYS]
    assert_in_turn(answers, first[::-1])


def test_each_of_them_takes_four_megabytes(site: Site, family: Family) -> None:
    name = f"up-{family}"
    sent = site.lab.client.directory / name
    sent.write_bytes(programs.payload(site.lab.client).read_bytes()[: 4 << 20])
    target = site.url(family, MIXED, f"/upload/{name}")

    for _ in WAYS:
        site.lab.client.run(["curl", "-sS", "--fail", "-T", sent, target])

    kept = [programs.uploaded(reached(site.lab, way)[0], name) for way in WAYS]
    assert [sha256(path) for path in kept] == [sha256(sent)] * len(WAYS)


def test_lvsadm_says_how_each_is_reached(site: Site, family: Family) -> None:
    shown = site.lvsadm("-L", "-n", "-t", settings.at(site.vip(family), MIXED)).splitlines()

    rows = [line.split() for line in shown if line.lstrip().startswith("-> ")]
    ways = {row[1]: row[2] for row in rows[1:]}  # without the heading
    assert ways == {
        endpoints(reached(site.lab, way)[:1], family, port)[0]: label
        for way, port, label in (
            ("nat", MAPPED, "Masq"),
            ("dr", MIXED, "Route"),
            ("tun", MIXED, "Tunnel"),
            ("fullnat", MAPPED, "FullNat"),
        )
    }


def test_clients_of_fullnat_keep_their_server(site: Site, family: Family) -> None:
    answers = [set(site.visits(family, PERSISTENT, 3, source)) for source in range(2)]

    names = [{server.host} for server in reached(site.lab, "fullnat")]
    assert sorted(answers, key=sorted) == sorted(names, key=sorted)


@pytest.mark.parametrize("way", MARKED)
def test_marked_ports_are_one_service(site: Site, family: Family, way: str) -> None:
    answers = [site.get(family, port).server for _ in range(2) for port in MARKED[way]]

    assert_in_turn(answers, [server.host for server in reached(site.lab, way)[::-1]])


def test_a_service_of_any_port_goes_directly_to_the_same_port(site: Site, family: Family) -> None:
    answers = [
        {site.get(family, port, source).server for port in (*ANY_PORT, *ANY_PORT)}
        for source in range(2)
    ]

    names = {server.host for server in reached(site.lab, "dr")}
    assert [len(each) for each in answers] == [1, 1]
    assert set.union(*answers) == names
