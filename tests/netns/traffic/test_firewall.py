"""lvsd beside an operator's own nftables rules, with conntrack at work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.traffic.icmp_errors import error, probing
from tests.netns.traffic.site import FAMILIES, both, of, running
from tests.netns.traffic.sockets import udp, udp_echoes
from tests.netns.traffic.state import ruleset, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

WEB, ECHO, CLOSED = 80, 7, 8
RWEB, RECHO, DIRECT, NOBODY = 8080, 7007, 8081, 7999
"""Ports of the real servers: two that are balanced, one that clients may also ask directly, and
one where nobody listens."""

PAGE = Path(__file__).parents[3] / "docs" / "firewall.md"

WATCHING = """
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        ct state new counter
    }"""

UNTRACKED_ONLY = """
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state untracked accept
    }"""

SERVER_PORTS_ONLY = f"""
    chain forward {{
        type filter hook forward priority filter; policy drop;
        meta l4proto {{ tcp, udp }} th dport {{ {RWEB}, {RECHO} }} accept
        meta l4proto {{ tcp, udp }} th sport {{ {RWEB}, {RECHO} }} accept
    }}"""

DROPPING = """
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        counter drop
    }"""

PORT_UNREACHABLE = {"v4": (3, 3), "v6": (1, 4)}

CHAINS = {
    "watching": WATCHING,
    "untracked-only": UNTRACKED_ONLY,
    "server-ports-only": SERVER_PORTS_ONLY,
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Lab]:
    """Run a web and an echo server on two real servers."""
    with Lab(name="lvsd-traffic", servers=2) as lab, udp_echoes(lab.servers, RECHO):
        for server in lab.servers:
            programs.nginx(server, ports=[RWEB, DIRECT])
        yield lab


@pytest.fixture(params=CHAINS)
def rules(request: pytest.FixtureRequest, servers: Lab) -> Iterator[str]:
    """Put up one of the operator's rulesets; it must come out of the test as it was."""
    host = servers.director
    host.run(["nft", "-f", "-"], input=f"table inet operator {{ {CHAINS[request.param]}\n}}\n")
    before = without_counters(ruleset(host))
    yield request.param
    after = without_counters(ruleset(host))
    host.run(["nft", "delete table inet operator"])
    assert after == before


def without_counters(entry: object) -> object:
    """Return a ruleset without what its counters have counted."""
    if isinstance(entry, dict):
        return {key: without_counters(entry[key]) for key in entry if key != "counter"}
    return [without_counters(part) for part in entry] if isinstance(entry, list) else entry


@pytest.fixture
def site(servers: Lab, rules: str) -> Iterator[Site]:
    """Balance TCP and UDP among the operator's rules."""
    del rules
    with running(
        servers, both(servers, WEB, RWEB), both(servers, ECHO, RECHO, protocol="udp")
    ) as site:
        yield site


def test_traffic_passes_and_no_connection_is_tracked(site: Site, rules: str) -> None:
    client = site.lab.client
    for family in FAMILIES:
        assert sorted(site.visits(family, WEB, 2)) == ["server1", "server2"]
        client.run(["curl", "-sS", "--fail", "-o", "/dev/null", site.url(family, WEB, "/file")])
        with udp(client, family) as sock:
            sock.sendto(bytes(3000), (site.vip(family), ECHO))
            assert len(sock.recv(65535)) == len("server1 ") + 3000

    ours = [site.vip(family) for family in FAMILIES] + [f"port={RWEB} ", f"port={RECHO} "]
    lines = tracked(site.lab.director)
    assert [line for line in lines if any(word in line for word in ours)] == []
    assert rules in CHAINS


@pytest.mark.parametrize("rules", ["watching"], indirect=True)
def test_what_is_not_balanced_is_tracked_as_ever(site: Site, family: Family) -> None:
    server = of(site.lab.servers[0].addresses, family)
    shown = f"[{server}]" if family == "v6" else server

    site.lab.client.run(["curl", "-sS", "--fail", f"http://{shown}:{DIRECT}/"])

    lines = [line for line in tracked(site.lab.director) if f"dst={server} " in line]
    assert [f"dport={DIRECT} " in line for line in lines] == [True]


@pytest.fixture
def closed_site(servers: Lab) -> Iterator[Site]:
    """Balance behind a forward chain that knows connections by conntrack only, and drops."""
    host = servers.director
    host.run(["nft", "-f", "-"], input=f"table inet filter {{ {DROPPING}\n}}\n")
    try:
        with running(
            servers,
            both(servers, WEB, RWEB),
            both(servers, ECHO, RECHO, protocol="udp"),
            both(servers, CLOSED, NOBODY, protocol="udp"),
        ) as site:
            yield site
    finally:
        host.run(["nft", "delete table inet filter"])


def dropped(site: Site) -> int:
    """Return how many packets the closed chain has dropped."""
    chain = site.lab.director.run(["nft", "list chain inet filter forward"]).stdout
    [count] = re.findall(r"counter packets (\d+)", chain)
    return int(count)


def test_a_forward_chain_that_drops_lets_traffic_pass_with_the_rules_of_the_page(
    closed_site: Site, family: Family
) -> None:
    site = closed_site
    with udp(site.lab.client, family) as sock:
        before = dropped(site)
        sock.sendto(b"anybody?", (site.vip(family), ECHO))
        assert until(lambda: dropped(site) > before)

    [rules] = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    site.lab.director.run(["sh", "-ec", rules])

    assert sorted(site.visits(family, WEB, 2)) == ["server1", "server2"]
    with udp(site.lab.client, family) as sock:
        sock.sendto(bytes(3000), (site.vip(family), ECHO))
        assert len(sock.recv(65535)) == len("server1 ") + 3000
    with probing(site, family, CLOSED) as sock:
        sock.send(b"anybody?")
        answer = error(sock, family)
    assert (answer.kind, answer.code) == PORT_UNREACHABLE[family]
