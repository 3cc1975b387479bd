"""Somebody reloads the firewall, again and again, while every connection is busy: none notices.

The figures of a kernel that knows no tables with an owner are not asked for: there the table is
gone for the milliseconds until lvsd has put it up again.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab, programs, real_server
from lvsd.lab.plan import WAYS
from lvsd.lab.wait import until
from tests.netns.modes.busy import OPEN, REQUEST, Busy
from tests.netns.modes.site import MAPPED, counter, forwarded
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, running
from tests.netns.traffic.state import ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.netns.traffic.site import Site

PORTS = {"nat": 81, "dr": 82, "tun": 83, "fullnat": 84}
RPORTS = {"nat": MAPPED, "fullnat": MAPPED}
SITES = [(family, PORTS[way]) for way in WAYS for family in FAMILIES]
RELOADS = 30
SAID = "put it up again"

# What Debian's /etc/nftables.conf holds.
FIREWALL = """#!/usr/sbin/nft -f

flush ruleset

table inet filter {
    chain input { type filter hook input priority filter; }
    chain forward { type filter hook forward priority filter; }
    chain output { type filter hook output priority filter; }
}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a lab with one server for each way."""
    with Lab(name="lvsd-modes", ways=WAYS) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[RPORTS.get(server.way, PORTS[server.way])])
            real_server.up(server, lab.vip)
        yield lab


@pytest.fixture(params=[True, False], ids=["local", "foreign"])
def is_local(request: pytest.FixtureRequest) -> bool:
    """Run the test with VIPs that are addresses of the director, and with such that are not."""
    return bool(request.param)


@pytest.fixture
def site(lab: Lab, *, is_local: bool) -> Iterator[Site]:
    """Have a service for each way."""
    keys: dict[str, Any] = {"interface": "front"} if is_local else {}
    tables = [forwarded(lab, way, PORTS[way], rport=RPORTS.get(way), **keys) for way in WAYS]
    with running(lab, *tables) as site:
        yield site


@pytest.fixture
def firewall(tmp_path: Path) -> Path:
    """Write the operator's rules to a file."""
    path = tmp_path / "nftables.conf"
    path.write_text(FIREWALL, encoding="ascii")
    return path


def mended(site: Site) -> int:
    return int(site.call("status")["groups"]["ruleset"]["put_up_again"])


def test_no_connection_is_reset_or_lost_by_reloads_of_the_firewall(
    site: Site, firewall: Path, *, is_local: bool
) -> None:
    with Busy(site, SITES, 10 if is_local else 25) as busy:
        for _ in range(RELOADS):
            before = busy.answers
            site.lab.director.run(["nft", "-f", firewall])
            assert until(lambda: busy.answers > before + busy.number, PATIENCE_S)  # noqa: B023
    assert busy.ends == {OPEN: busy.number}
    assert mended(site) > 0


def test_it_is_said_once_in_the_log_and_counted(site: Site, firewall: Path) -> None:
    for _ in range(3):
        before = mended(site)
        site.lab.director.run(["nft", "-f", firewall])
        assert until(lambda: mended(site) > before, PATIENCE_S)  # noqa: B023
    said = [line for line in site.daemon.log.splitlines() if SAID in line]
    assert [json.loads(line)["tables"] for line in said] == [["inet lvsd_guard"]]
    assert "put_up_again" in site.lvsadm("--status")


def test_after_a_kill_nobody_is_reset_until_lvsd_is_cleaned_up_after(lab: Lab) -> None:
    config = forwarded(lab, "nat", 81, rport=MAPPED, interface="front")
    daemon = programs.lvsd(lab.director, config)
    with lab.client.entered():
        sock = socket.create_connection((lab.vip.v4, 81), PATIENCE_S)
    with sock:
        sock.sendall(REQUEST)
        assert sock.recv(4096)
        before = counter(lab.client, "TcpRetransSegs")
        daemon.process.kill()
        daemon.process.wait()
        sock.sendall(REQUEST)
        assert until(lambda: counter(lab.client, "TcpRetransSegs") >= before + 3, PATIENCE_S)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    lab.director.run([sys.executable, "-m", "lvsd", "cleanup", "--control", daemon.control])
    assert "lvsd" not in str(ruleset(lab.director))
