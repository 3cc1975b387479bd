"""Real connections go to the real servers as the scheduler says."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.netns.traffic.site import both, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

RR, WRR, SH, FIRST, LAST = 81, 82, 83, 84, 85
"""Ports of the services; FIRST has only the first real server behind it, LAST the other two."""

KERNEL_WRR = "CBAABACBACBAABACBA"
"""What kernel IPVS picks for weights A 4, B 3, C 2: two cycles."""


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """Services with different schedulers and servers, all at once."""
    with running(
        web_lab,
        both(web_lab, RR, 8080),
        both(web_lab, WRR, 8080, scheduler="wrr", weights=[4, 3, 2]),
        both(web_lab, SH, 8080, scheduler="sh"),
        both(web_lab, FIRST, 8080, servers=slice(1)),
        both(web_lab, LAST, 8080, servers=slice(1, 3)),
    ) as site:
        yield site


def letters(servers: list[str]) -> str:
    return "".join({"server1": "A", "server2": "B", "server3": "C"}[name] for name in servers)


def test_rr_takes_the_servers_in_turn(site: Site, family: Family) -> None:
    assert letters(site.visits(family, RR, 9)) == "CBACBACBA"


def test_wrr_picks_as_the_kernel_does_over_two_cycles(site: Site, family: Family) -> None:
    assert letters(site.visits(family, WRR, 18)) == KERNEL_WRR


def test_sh_sends_each_client_to_the_server_of_its_bucket(site: Site, family: Family) -> None:
    clients = range(12)
    seen = [letters(site.visits(family, SH, 2, client)) for client in clients]

    buckets = [sh_bucket(site.source(family, client)) for client in clients]
    assert seen == [2 * "CBA"[bucket % 3] for bucket in buckets]
    assert set("".join(seen)) == set("ABC")


def sh_bucket(client: str) -> int:
    """Return the kernel's bucket: Knuth's multiplicative hash of the XOR-folded address."""
    packed = ip_address(client).packed
    folded = 0
    for at in range(0, len(packed), 4):
        folded ^= int.from_bytes(packed[at : at + 4], "big")
    return (folded * 0x61C88647 & 0xFFFFFFFF) >> 24


def test_services_with_other_servers_do_not_mix(site: Site, family: Family) -> None:
    answers = [(site.get(family, FIRST).server, site.get(family, LAST).server) for _ in range(4)]

    assert [first for first, _ in answers] == ["server1"] * 4
    assert [last for _, last in answers] == ["server3", "server2"] * 2
