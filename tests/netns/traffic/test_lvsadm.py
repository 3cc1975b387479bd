"""lvsadm over the running daemon, and what the numbers say after real traffic."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import settings
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import until
from tests.netns.traffic.site import both, endpoints, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from lvsd.lab.traffic import Connection
    from tests.netns.traffic.site import Family, Site

PORT, OPENED = 80, 6
FIELDS = r"\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$"


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """One service per family."""
    with running(web_lab, both(web_lab, PORT, 8080)) as site:
        yield site


@pytest.fixture
def held(site: Site, family: Family) -> Iterator[list[Connection]]:
    """Open connections that stay open."""
    visitor = Visitor(site.lab.client, site.vip(family), PORT)
    with contextlib.ExitStack() as stack:
        connections = [visitor.open(site.source(family)) for _ in range(OPENED)]
        for connection in connections:
            stack.callback(connection.close)
        yield connections


def section(listing: str, head: str) -> list[str]:
    """Return the lines of the service that begins so, its real servers' lines after it."""
    lines = listing.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    end = start + 1
    while end < len(lines) and lines[end].startswith("  ->"):
        end += 1
    return [line.rstrip() for line in lines[start:end]]


def head(site: Site, family: Family) -> str:
    return f"TCP  {settings.at(site.vip(family), PORT)}"


def test_the_list_shows_services_servers_and_live_connections(
    site: Site, family: Family, held: list[Connection]
) -> None:
    listing = site.lvsadm("-L", "-n")

    assert listing.startswith(
        "IP Virtual Server version 1.2.1 (size=4096)\n"
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
    )
    service, *servers = section(listing, head(site, family))
    assert service == f"{head(site, family)} rr"
    rows = [line.split()[1:5] for line in servers]
    real = endpoints(site.lab.servers, family, 8080)
    assert sorted(rows) == sorted([name, "Masq", "1", "2"] for name in real)
    assert len(held) == OPENED


def test_the_connections_are_those_that_the_client_has(
    site: Site, family: Family, held: list[Connection]
) -> None:
    mine = {settings.at(*connection.http.sock.getsockname()[:2]) for connection in held}

    first, titles, *rows = site.lvsadm("-L", "-n", "-c").splitlines()

    assert first == "IPVS connection entries"
    assert titles.split() == ["pro", "expire", "state", "source", "virtual", "destination"]
    established = [row.split() for row in rows if "ESTABLISHED" in row]
    assert {row[3] for row in established} == mine
    assert {row[4] for row in established} == {settings.at(site.vip(family), PORT)}
    assert {row[5] for row in established} == set(endpoints(site.lab.servers, family, 8080))
    assert [row for row in established if not re.fullmatch(r"1[45]:\d\d", row[1])] == []


def test_the_statistics_count_both_directions_and_zero_clears_them(
    site: Site, family: Family
) -> None:
    site.lvsadm("-Z")
    site.lab.client.run(["curl", "-sS", "-o", "/dev/null", site.url(family, PORT, "/file")])

    def stats() -> list[list[int]]:
        lines = section(site.lvsadm("-L", "-n", "--stats", "--exact"), head(site, family))
        found = [re.search(FIELDS, line) for line in lines]
        return [[int(number) for number in match.groups()] for match in found if match]

    assert until(lambda: stats() == stats())  # the last ACKs may still be under way
    service, *servers = stats()
    assert service == [sum(column) for column in zip(*servers, strict=True)]
    connections, in_packets, out_packets, in_bytes, out_bytes = service
    assert connections == 1
    assert out_bytes > 20_000_000 + 40 * out_packets
    assert 40 * in_packets < in_bytes < out_bytes

    site.lvsadm("-Z")
    assert stats() == [[0, 0, 0, 0, 0]] * 4


def test_the_timeouts_are_ipvs_s(site: Site) -> None:
    assert site.lvsadm("-L", "--timeout") == "Timeout (tcp tcpfin udp): 900 120 300\n"
