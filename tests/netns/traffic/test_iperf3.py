"""iperf3 through the director: its control and its data connection want one and the same server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import programs
from lvsd.lab.wait import until
from tests.netns.modes.site import counter
from tests.netns.traffic.site import PATIENCE_S, both, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PERSISTENT, SINGLE = 5201, 5202
"""Ports: three servers with persistence, one server for TCP and UDP."""

BYTES = 30_000_000
DATAGRAM_BYTES = 2_500_000
RATE = "20M"
TRY_AGAIN = ("the server is busy", "unable to connect to server")
"""What iperf3 says while its server, which takes one test at a time, ends the last one.

It closes its listening socket for a moment then, with or without lvsd in between.
"""

WINDOW = "256K"
"""Bounds what is still under way when iperf3 stops to count."""

UNDER_WAY = 1_500_000
"""Bytes per stream that two such buffers, doubled by the kernel, and the path may hold."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Run iperf3 behind one service with persistence, and behind a pair of TCP and UDP."""
    for server in lab.servers:
        programs.iperf3(server)
    with running(
        lab,
        both(lab, PERSISTENT, 5201, persistence_s=60),
        both(lab, SINGLE, 5201, servers=slice(1)),
        both(lab, SINGLE, 5201, servers=slice(1), protocol="udp"),
    ) as site:
        yield site


def measured(site: Site, family: Family, port: int, *options: str) -> dict[str, Any]:
    """Return what iperf3 reports at its end."""
    command = ["iperf3", "--json", "-c", site.vip(family), "-p", str(port), *options]
    report: dict[str, Any] = {}

    def is_done() -> bool:
        report.clear()
        report.update(json.loads(site.lab.client.run(command).stdout))
        return not report.get("error", "").startswith(TRY_AGAIN)

    assert until(is_done, PATIENCE_S)
    assert report.get("error") is None
    end: dict[str, Any] = report["end"]
    return end


@pytest.mark.parametrize("direction", [[], ["-R"]], ids=["up", "down"])
def test_a_tcp_stream_arrives_in_full(site: Site, family: Family, direction: list[str]) -> None:
    end = measured(site, family, PERSISTENT, "-w", WINDOW, "-n", str(BYTES), *direction)

    assert end["sum_sent"]["bytes"] >= BYTES
    assert end["sum_received"]["bytes"] >= BYTES - UNDER_WAY


def test_parallel_streams_stay_with_the_server_of_their_control_connection(
    site: Site, family: Family
) -> None:
    end = measured(site, family, PERSISTENT, "-w", WINDOW, "-n", str(BYTES), "-P", "4")

    assert len(end["streams"]) == 4
    assert end["sum_received"]["bytes"] >= BYTES - 4 * UNDER_WAY


@pytest.mark.parametrize("direction", [[], ["-R"]], ids=["up", "down"])
def test_udp_at_twenty_megabits_loses_next_to_nothing(
    site: Site, family: Family, direction: list[str]
) -> None:
    options = ["-u", "-b", RATE, "-n", str(DATAGRAM_BYTES), *direction]
    before = unread(site, family)

    total = measured(site, family, SINGLE, *options)["sum"]

    # A program or lvsd that gets no processor for a while does not read what waits for it, and the
    # kernel drops the rest: that is counted there, and says nothing of what lvsd does with packets.
    lost = total["lost_packets"] - (unread(site, family) - before)
    assert total["bytes"] >= DATAGRAM_BYTES * 0.99
    assert lost <= total["packets"] * 0.01


def unread(site: Site, family: Family) -> int:
    """Return how many datagrams found a full buffer: of iperf3 at either end, or lvsd's queue."""
    name = "UdpRcvbufErrors" if family == "v4" else "Udp6RcvbufErrors"
    ends = (site.lab.client, *site.lab.servers)
    queue = "".join(site.lab.director.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout)
    rows = [line.split() for line in queue.splitlines()]
    return sum(counter(end, name) for end in ends) + sum(int(r[5]) + int(r[6]) for r in rows)
