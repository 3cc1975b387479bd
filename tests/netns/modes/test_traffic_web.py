"""HTTP in every mode: who answers, what they see, and which way the replies take.

Veth's segmentation and checksum offload stay on, so that large segments and checksums that are
still to be finished come to the director, as from a network card.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab, programs, real_server
from tests.netns.modes.site import (
    MAPPED,
    assert_in_turn,
    forwarded,
    locals_of,
    overheard,
    reached,
    sha256,
)
from tests.netns.traffic.crowd import crowd
from tests.netns.traffic.site import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

PARALLEL = 200
GUE_PORT = 6080
BYPASSING = {"dr", "tun"}


@dataclass(frozen=True)
class Case:
    """A service: its port, its servers among those of its way, and its keys."""

    way: str
    port: int
    servers: tuple[int, ...] = (0, 1)
    rport: int | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    def reached(self, lab: Lab) -> list[Namespace]:
        """Return its servers."""
        return [reached(lab, self.way)[index] for index in self.servers]


CASES = {
    "nat": Case("nat", 81, rport=MAPPED),
    "dr": Case("dr", 82),
    "tun": Case("tun", 83),
    "fullnat": Case("fullnat", 84, rport=MAPPED),
    "clamped": Case("tun", 85, keys={"mss_clamp": True}),
    "gue": Case("tun", 86, (2,), keys={"tunnel": "gue", "tunnel_port": GUE_PORT}),
    "gre": Case("tun", 87, (3,), keys={"tunnel": "gre"}),
}
MODES = ("nat", "dr", "tun", "fullnat")
PORTS = [case.port for case in CASES.values() if case.rport is None] + [MAPPED]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Give every case a service, and every way two servers, with one more for each odd tunnel."""
    ways = ("nat", "nat", "dr", "dr", "tun", "tun", "tun", "tun", "fullnat", "fullnat")
    with Lab(name="lvsd-modes", ways=ways) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=PORTS)
        *plain, gue, gre = reached(lab, "tun")
        for server in (*reached(lab, "dr"), *plain):
            real_server.up(server, lab.vip)
        real_server.up(gue, lab.vip, tunnel="gue", port=GUE_PORT)
        real_server.up(gre, lab.vip, tunnel="gre")
        tables = [
            forwarded(
                lab,
                case.way,
                case.port,
                servers=case.reached(lab),
                rport=case.rport,
                **case.keys,
            )
            for case in CASES.values()
        ]
        with running(lab, *tables) as site:
            yield site


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Run the test in every mode, tunnel and with a clamped MSS."""
    return CASES[request.param]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Case:
    """Run the test in every mode."""
    return CASES[request.param]


def test_the_servers_answer_in_turn_and_see_the_client(
    site: Site, case: Case, family: Family
) -> None:
    servers = case.reached(site.lab)

    answers = [site.get(family, case.port, source=7) for _ in range(6)]

    assert_in_turn([answer.server for answer in answers], [space.host for space in servers[::-1]])
    seen = {answer.seen for answer in answers}
    if case.way == "fullnat":  # nobody reads TOA here
        assert seen <= set(locals_of(site.lab, family))
    else:
        assert seen == {site.source(family, 7)}


def test_twenty_megabytes_go_up_unharmed(site: Site, case: Case, family: Family) -> None:
    name = f"up-{case.port}-{family}"
    sent = programs.payload(site.lab.client)
    target = site.url(family, case.port, f"/upload/{name}")

    site.lab.client.run(["curl", "-sS", "--fail", "-T", sent, target])

    kept = [programs.uploaded(server, name) for server in case.reached(site.lab)]
    [found] = [path for path in kept if path.exists()]
    assert sha256(found) == sha256(sent)


def test_two_hundred_connections_at_once_are_all_answered(
    site: Site, mode: Case, family: Family
) -> None:
    active, answers = asyncio.run(crowd(site, family, mode.port, PARALLEL))

    assert active == PARALLEL
    names = [space.host for space in mode.reached(site.lab)]
    assert Counter(answers) == dict.fromkeys(names, PARALLEL // 2)


def test_twenty_megabytes_come_down_past_the_director_or_through_it(
    site: Site, case: Case, family: Family
) -> None:
    client, director = site.lab.client, site.lab.director
    target = client.directory / f"down-{case.port}-{family}"
    from_vip = f"outbound and src host {site.vip(family)}"
    before = {name: director.crossed(name) for name in ("front", "back")}

    with overheard(director, "front", from_vip) as replies:
        url = site.url(family, case.port, "/file")
        client.run(["curl", "-sS", "--fail", "-o", target, url])

    assert sha256(target) == sha256(programs.payload(client))
    front, back = (director.crossed(name) - before[name] for name in ("front", "back"))
    assert front.received > 20  # the client's acknowledgements, each for many segments
    assert back.sent > 20
    if case.way in BYPASSING:
        assert replies.packets == 0
        # A packet of the neighbourhood now and then; the file would be 300 of the largest ones.
        assert max(front.sent, back.received) < 20
    else:
        assert replies.packets > 300
        assert min(front.sent, back.received) > 300
