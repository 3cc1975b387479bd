"""Programs on the director as clients of its own services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab, programs, real_server
from lvsd.lab.plan import BACK, ROUTER
from tests.netns.modes.site import MAPPED, forwarded, reached
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

PORTS = {"nat": 82, "fullnat": 83, "dr": 80, "tun": 81}
OWN = 84
"""A NAT service whose server is the director itself."""


@pytest.fixture(scope="module")
def own_lab() -> Iterator[Lab]:
    """Have a real server of each kind, and the director serve, too."""
    with Lab(name="lvsd-modes", ways=("nat", "dr", "tun", "fullnat")) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[MAPPED, PORTS["dr"], PORTS["tun"]])
        programs.nginx(lab.director, ports=[MAPPED])
        for way in ("dr", "tun"):
            for server in reached(lab, way):
                real_server.up(server, lab.vip)
        yield lab


def tables(lab: Lab, **keys: Any) -> list[str]:
    """Return a service of each mode, and one whose server is the director."""
    mapped = {"nat": MAPPED, "fullnat": MAPPED}
    return [
        *(forwarded(lab, way, port, rport=mapped.get(way), **keys) for way, port in PORTS.items()),
        forwarded(lab, "nat", OWN, servers=[lab.director], rport=MAPPED, **keys),
    ]


@pytest.fixture(scope="module")
def site(own_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Run lvsd with the VIP an address of the director, or elsewhere, by a default route."""
    if request.param == "held":
        with running(own_lab, *tables(own_lab, interface="lo")) as site:
            yield site
        return
    router = BACK.host(ROUTER)
    routes = [f"route add default via {of(router, family)}" for family in FAMILIES]
    own_lab.director.ip(*routes)
    try:
        with running(own_lab, *tables(own_lab)) as site:
            yield site
    finally:
        own_lab.director.ip(*(route.replace("add", "del") for route in routes))


HELD = pytest.mark.parametrize("site", ["held"], indirect=True)
ELSEWHERE = pytest.mark.parametrize("site", ["elsewhere"], indirect=True)


def curl(site: Site, family: Family, port: int) -> subprocess.CompletedProcess[str]:
    """Ask a virtual service from the director."""
    command = ["curl", "-sS", "--max-time", "20", site.url(family, port)]
    return site.lab.director.run(command, check=False)


def counted(site: Site, family: Family, port: int) -> tuple[int, int]:
    """Return how many connections a service had, and has."""
    server = site.service(f"tcp-{port}-{family}")["servers"][0]
    return server["stats"]["connections"], server["active"] + server["inactive"]


@HELD
@pytest.mark.parametrize(("way", "name"), [("nat", "server1"), ("fullnat", "server4")])
def test_a_program_that_asks_a_vip_of_the_directors_own_is_served(
    site: Site, family: Family, way: str, name: str
) -> None:
    before, _ = counted(site, family, PORTS[way])
    for _ in range(3):
        answer = curl(site, family, PORTS[way])
        assert (answer.returncode, answer.stdout.split()[:1]) == (0, [name]), answer.stderr
    assert counted(site, family, PORTS[way])[0] == before + 3


@HELD
def test_it_is_served_by_the_director_itself(site: Site, family: Family) -> None:
    for _ in range(2):
        answer = curl(site, family, OWN)
        assert answer.stdout.split()[:1] == ["director"], answer.stderr


@HELD
@pytest.mark.parametrize("way", ["dr", "tun"])
def test_what_cannot_be_answered_is_left_to_the_host_and_not_counted(
    site: Site, family: Family, way: str
) -> None:
    answer = curl(site, family, PORTS[way])
    assert answer.returncode == 7, answer.stderr
    assert counted(site, family, PORTS[way]) == (0, 0)
    assert site.get(family, PORTS[way]).server  # a client elsewhere is served


@HELD
def test_an_answer_of_the_hosts_own_to_another_client_is_let_be(site: Site, family: Family) -> None:
    for port in PORTS.values():
        assert site.get(family, port).server.startswith("server")


@ELSEWHERE
@pytest.mark.parametrize(
    ("way", "name"),
    [("nat", "server1"), ("dr", "server2"), ("tun", "server3"), ("fullnat", "server4")],
)
def test_a_program_that_asks_a_vip_elsewhere_is_served_in_every_mode(
    site: Site, family: Family, way: str, name: str
) -> None:
    for _ in range(3):
        answer = curl(site, family, PORTS[way])
        assert (answer.returncode, answer.stdout.split()[:1]) == (0, [name]), answer.stderr
    assert counted(site, family, PORTS[way])[0] == 3
