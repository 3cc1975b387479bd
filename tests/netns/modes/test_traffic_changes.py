"""Real servers that go away and come back, and one that gets another network card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs, real_server
from lvsd.lab.plan import WAYS
from lvsd.lab.wait import PATIENCE, until
from tests.netns.modes.site import MAPPED, forwarded, reached
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

PORTS = {"nat": 81, "dr": 82, "tun": 83, "fullnat": 84}
RPORTS = {"nat": MAPPED, "fullnat": MAPPED}

REFUSED, TIMED_OUT = 7, 28
"""curl(1): failed to connect; operation timeout."""

HASTE = {
    "delay_first_probe_time": "1",
    "ucast_solicit": "1",
    "retrans_time_ms": "100",
    "base_reachable_time_ms": "500",
}
"""Sysctls of the director's neighbours: notice a silent one in seconds, not in half a minute."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have one server for each way."""
    with Lab(name="lvsd-modes", ways=WAYS) as lab:
        for server in lab.servers:
            serve(server)
            real_server.up(server, lab.vip)
        for family in ("ipv4", "ipv6"):
            for key, value in HASTE.items():
                lab.director.sysctl(f"net.{family}.neigh.back.{key}", value)
        tables = [forwarded(lab, way, PORTS[way], rport=RPORTS.get(way)) for way in WAYS]
        with running(lab, *tables) as site:
            yield site


def serve(server: Namespace) -> programs.Program:
    return programs.nginx(server, ports=[RPORTS.get(server.way, PORTS[server.way])])


def status(site: Site, family: Family, way: str, seconds: str = "5") -> int:
    """Ask for a page; return curl's exit status."""
    url = site.url(family, PORTS[way])
    return site.lab.client.run(["curl", "-sS", "-m", seconds, url], check=False).returncode


def test_a_stopped_program_refuses_and_a_started_one_serves_again(site: Site, way: str) -> None:
    (server,) = reached(site.lab, way)
    [web] = [each for each in server.processes if each.poll() is None and is_nginx(each)]

    web.terminate()
    web.wait(60 * PATIENCE)
    without = [status(site, family, way) for family in FAMILIES]
    serve(server)

    assert without == [REFUSED, REFUSED]
    assert [status(site, family, way) for family in FAMILIES] == [0, 0]


def is_nginx(process: subprocess.Popen[bytes]) -> bool:
    return "nginx.conf" in str(process.args)


def test_a_server_whose_link_was_down_is_found_again(site: Site) -> None:
    (server,) = reached(site.lab, "dr")
    server.sysctl("net.ipv6.conf.eth0.keep_addr_on_down", "1")
    gateway = site.lab.router.interface("back")

    def missed() -> bool:
        statuses = [status(site, family, "dr", "0.5") for family in FAMILIES]
        return statuses == [TIMED_OUT] * 2 and site.daemon.log.count("does not answer") == 2

    server.ip("link set eth0 down")
    assert until(missed)
    server.ip(
        "link set eth0 up",
        f"route replace default via {gateway.v4} dev eth0",
        f"route replace default via {gateway.v6} dev eth0",
    )

    assert until(lambda: [status(site, family, "dr", "2") for family in FAMILIES] == [0, 0])


def test_a_server_with_another_mac_is_found_again(site: Site, family: Family) -> None:
    (server,) = reached(site.lab, "dr")
    assert status(site, family, "dr") == 0
    new = {"v4": "02:00:00:00:aa:04", "v6": "02:00:00:00:aa:06"}[family]

    server.ip(f"link set eth0 address {new}")

    assert until(lambda: status(site, family, "dr", "2") == 0)
    address = of(server.addresses, family)
    known = site.lab.director.run(["ip", "neighbour", "show", address, "dev", "back"]).stdout
    assert new in known


def test_a_server_that_announces_its_mac_is_reached_at_once(site: Site) -> None:
    (server,) = reached(site.lab, "dr")
    assert status(site, "v4", "dr") == 0
    server.sysctl("net.ipv4.conf.eth0.arp_notify", "1")

    server.ip("link set eth0 address 02:00:00:00:bb:04")

    assert status(site, "v4", "dr") == 0
