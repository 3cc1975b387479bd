"""Services by firewall mark: what belongs to them is what the operator's nftables rules mark."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import programs
from tests.netns.traffic.site import FAMILIES, endpoints, running, table
from tests.netns.traffic.state import tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

MARK = 7
PORTS = 80, 8080
UNMARKED = 81


def marking(lab: Lab) -> str:
    """Return the operator's rules: mark before conntrack looks, and have conntrack on."""
    ports = ", ".join(map(str, PORTS))
    return f"""
    table inet operator {{
        chain marks {{
            type filter hook prerouting priority raw;
            ip daddr {lab.vip.v4} tcp dport {{ {ports} }} meta mark set {MARK}
            ip6 daddr {lab.vip.v6} tcp dport {{ {ports} }} meta mark set {MARK}
        }}
        chain watch {{
            type filter hook forward priority filter;
            ct state new counter
        }}
    }}"""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """One service per family; the real servers get the port that the client asked for."""
    for server in lab.servers:
        programs.nginx(server, ports=PORTS)
    lab.director.run(["nft", "-f", "-"], input=marking(lab))
    tables = [
        table(
            f"mark-{family}",
            dict.fromkeys(endpoints(lab.servers, family, 0), 1),
            fwmark=MARK,
            family=4 if family == "v4" else 6,
            scheduler="rr",
            persistence_s=300,
        )
        for family in FAMILIES
    ]
    with running(lab, *tables) as site:
        yield site


def test_marked_ports_are_one_service_and_clients_keep_their_server(
    site: Site, family: Family
) -> None:
    answers = [{site.get(family, port, source).server for port in PORTS} for source in range(3)]

    assert [len(servers) for servers in answers] == [1, 1, 1]
    assert set.union(*answers) == {"server1", "server2", "server3"}


def test_marked_flows_are_not_tracked(site: Site, family: Family) -> None:
    site.get(family, PORTS[0], 5)

    client = site.source(family, 5)
    assert [line for line in tracked(site.lab.director) if client in line] == []


def test_what_is_not_marked_is_not_balanced(site: Site, family: Family) -> None:
    curl = ["curl", "-sS", "--max-time", "2", site.url(family, UNMARKED)]

    with pytest.raises(subprocess.CalledProcessError):
        site.lab.client.run(curl)

    assert f":{UNMARKED}" not in site.lvsadm("-Lnc")
