"""Everything is put back: links, addresses, routes and sysctls are what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.io.hosts import PATIENCE_S
from tests.netns.realserver.site import VIP4, VIPS, snapshot, sysctl

if TYPE_CHECKING:
    from tests.netns.realserver.site import Site

TUN = ("--mode", "tun", "--by", "lvsd")


def test_down_puts_back_what_two_ups_did(site: Site) -> None:
    before = snapshot(site.server)
    for _ in range(2):
        assert site.realserver("up", "--mode", "dr", *VIPS).returncode == 0
    assert snapshot(site.server) != before
    assert site.realserver("down").returncode == 0
    assert snapshot(site.server) == before
    assert list(site.state.iterdir()) == []
    assert site.realserver("down").stdout == "nothing is up\n"


def test_down_leaves_alone_what_was_there_before_up(site: Site) -> None:
    site.server.ip(f"address add {VIP4}/32 dev lo")
    sysctl(site.server, "net.ipv4.conf.all.arp_ignore", 2)
    before = snapshot(site.server)
    site.realserver("up", "--mode", "dr", *VIPS)
    site.realserver("down")
    assert snapshot(site.server) == before


@pytest.mark.parametrize("tunnel", ["ipip", "gre", "gue"])
def test_down_ends_the_program_that_takes_headers_off(site: Site, tunnel: str) -> None:
    before = snapshot(site.server)
    with site.running(*TUN, "--tunnel", tunnel, *VIPS) as program:
        done = site.realserver("down")
        assert done.stdout == f"ended pid {program.pid}, which put everything back\n"
        assert program.wait(PATIENCE_S) == 0
    assert snapshot(site.server) == before


def test_down_puts_back_what_a_killed_program_left(site: Site) -> None:
    before = snapshot(site.server)
    with site.running(*TUN, *VIPS) as program:
        program.kill()
        program.wait(PATIENCE_S)
    assert snapshot(site.server) != before
    assert site.realserver("down").returncode == 0
    assert snapshot(site.server) == before


def test_the_next_up_takes_over_from_a_killed_program(site: Site) -> None:
    before = snapshot(site.server)
    with site.running(*TUN, *VIPS) as program:
        program.kill()
        program.wait(PATIENCE_S)
    with site.running(*TUN, *VIPS):
        assert site.realserver("status").returncode == 0
    assert snapshot(site.server) == before
