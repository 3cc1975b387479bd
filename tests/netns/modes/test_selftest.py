"""Data in every mode, by every scheduler, on IPv4 and IPv6, over TCP and UDP.

Ten megabytes in each mode, family and protocol, and by each scheduler; less in the other
combinations, where only who gets the connection is another. The kernel's test of its own IPVS
sends 32 bytes in three modes and compares what has arrived
(tools/testing/selftests/net/netfilter/ipvs.sh).
"""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest

import schedulers
from lvsd.lab import Lab, real_server
from lvsd.lab.plan import WAYS
from tests.netns.modes.selftest_transfer import Ends, by_tcp, by_udp
from tests.netns.modes.site import forwarded
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

LONG_BYTES, SHORT_BYTES = 10 * 2**20, 2**18

TRANSFERS = {"tcp": by_tcp, "udp": by_udp}

COMBINATIONS = [*itertools.product(WAYS, FAMILIES, TRANSFERS)]

PORTS = {scheduler: 7001 + number for number, scheduler in enumerate(schedulers.BUILT_IN)}
"""The services' ports, by scheduler: one for each protocol and family."""

HIGHER = {"nat": 1000, "fullnat": 1000}
"""How far the real servers' ports are above these, in the modes that can map them."""

BYPASSING = {"dr", "tun"}
"""The modes whose replies do not pass the director."""

LONG = {
    (*combination, scheduler)
    for combination, scheduler, _ in zip(
        itertools.cycle(COMBINATIONS),
        itertools.cycle(PORTS),
        range(max(len(COMBINATIONS), len(PORTS))),
        strict=False,
    )
}
"""Which transfers are long: one or more of each combination, and of each scheduler."""


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run the tests in every mode, each with a lab and a daemon of its own."""
    return str(request.param)


@pytest.fixture(scope="module")
def site(way: str) -> Iterator[Site]:
    """Have a service of two real servers for every scheduler, family and protocol."""
    with Lab(name="lvsd-modes", ways=(way, way)) as lab:
        for server in lab.servers:
            real_server.up(server, lab.vip)
        tables = [
            forwarded(
                lab,
                way,
                port,
                rport=port + HIGHER.get(way, 0),
                protocol=protocol,
                scheduler=scheduler,
            )
            for scheduler, port in PORTS.items()
            for protocol in TRANSFERS
        ]
        with running(lab, *tables) as site:
            yield site


@pytest.mark.parametrize("protocol", TRANSFERS)
@pytest.mark.parametrize("scheduler", PORTS)
def test_what_is_sent_arrives_unharmed_through_the_director(
    site: Site, way: str, scheduler: str, family: Family, protocol: str
) -> None:
    seed = f"{way} {scheduler} {family} {protocol}"
    print(f"seed of the data: {seed!r}")  # noqa: T201 - pytest shows it when the test fails
    is_long = (way, family, protocol, scheduler) in LONG
    sent = random.Random(seed).randbytes(LONG_BYTES if is_long else SHORT_BYTES)
    service = site.vip(family), PORTS[scheduler]
    rport = service[1] + HIGHER.get(way, 0)
    rips = {server: of(server.addresses, family) for server in site.lab.servers}
    bound = {
        server: (site.vip(family) if way in BYPASSING else rip, rport)
        for server, rip in rips.items()
    }
    before = site.drops["too_big"]

    arrival = TRANSFERS[protocol](Ends(family, site.lab.client, service, bound), sent)

    assert (len(arrival.data), sha256(arrival.data)) == (len(sent), sha256(sent))
    entry = site.service(f"{protocol}-{service[1]}-{family}")
    assert (entry["scheduler"], entry["stats"]["connections"]) == (scheduler, 1)
    assert entry["stats"]["in_packets"] >= arrival.packets
    assert entry["stats"]["in_bytes"] >= arrival.packets_bytes
    # lvsd's own errors count as outgoing: the client has to learn how much goes into a tunnel.
    own_errors = site.drops["too_big"] - before
    assert (entry["stats"]["out_packets"] <= own_errors) == (way in BYPASSING)
    chosen = rips[arrival.server], rport
    assert [
        (server["address"], server["port"])
        for server in entry["servers"]
        if server["stats"]["connections"]
    ] == [chosen]
    assert [
        (connection["server"], connection["server_port"])
        for connection in site.connections
        if connection["protocol"] == protocol
        and (connection["virtual"], connection["virtual_port"]) == service
    ] == [chosen]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
