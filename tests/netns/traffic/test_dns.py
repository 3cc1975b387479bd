"""dig asks dnsmasq through the director."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import PATIENCE
from tests.netns.name_server import dnsmasq
from tests.netns.traffic.site import both, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

EVEN = {"server1": 3, "server2": 3, "server3": 3}

SOURCE_PORTS = itertools.count(20001)
"""dig's ports: each once, as a query from a port of before belongs to that one's connection."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Serve names over UDP and TCP, on a mapped port."""
    for server in lab.servers:
        dnsmasq(server, 5353)
    with running(lab, both(lab, 53, 5353, protocol="udp"), both(lab, 53, 5353)) as site:
        yield site


def dig(site: Site, family: Family, *options: str) -> str:
    command = ["dig", f"+timeout={30 * PATIENCE:g}", "+tries=1", *options, f"@{site.vip(family)}"]
    command += ["-b", f"{site.source(family)}#{next(SOURCE_PORTS)}"]
    return site.lab.client.run(command).stdout


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_queries_are_spread_evenly(site: Site, family: Family, transport: str) -> None:
    answers = [
        dig(site, family, "+short", transport, "who.lab", "TXT").strip().strip('"')
        for _ in range(9)
    ]

    assert Counter(answers) == EVEN


def test_a_truncated_answer_is_asked_for_again_over_tcp(site: Site, family: Family) -> None:
    answer = dig(site, family, "+noedns", "big.lab", "TXT")

    assert "Truncated, retrying in TCP mode" in answer
    assert answer.count("x" * 80) == 30


def test_a_large_answer_comes_in_fragments(site: Site, family: Family) -> None:
    answer = dig(site, family, "+bufsize=4096", "+ignore", "big.lab", "TXT")

    assert "flags: qr aa rd ra;" in answer  # without tc
    assert answer.count("x" * 80) == 30
