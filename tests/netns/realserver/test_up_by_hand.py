"""What ``up --print`` says, typed in: the same real server, and the same host again after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.realserver.site import (
    NEIGHBOUR4,
    NEIGHBOUR6,
    VIPS,
    has_devices,
    snapshot,
    sysctl,
    typed,
)

if TYPE_CHECKING:
    from tests.netns.realserver.site import Site

TUN = ("--mode", "tun", "--by", "kernel")


def undoing(script: str) -> str:
    return "\n".join(line[4:] for line in script.splitlines() if line.startswith("#   "))


def same_by_hand(site: Site, *words: str) -> None:
    before = snapshot(site.server)
    script = site.realserver("up", *words, "--print").stdout
    assert snapshot(site.server) == before
    assert site.realserver("up", *words).returncode == 0
    ours = snapshot(site.server)
    nothing = "# there is nothing left to do\n"
    assert site.realserver("up", *words, "--print").stdout == nothing
    site.realserver("down")
    typed(site, script)
    assert snapshot(site.server) == ours
    assert site.realserver("status", *words).returncode == 0
    typed(site, undoing(script))
    assert snapshot(site.server) == before


def test_for_dr_it_is_the_same_by_hand(site: Site) -> None:
    same_by_hand(site, "--mode", "dr", *VIPS)


def test_for_dr_it_is_the_same_by_hand_where_an_interface_has_a_value_of_its_own(
    site: Site,
) -> None:
    sysctl(site.server, "net.ipv4.conf.eth0.arp_ignore", 4)
    sysctl(site.server, "net.ipv4.conf.all.arp_announce", 1)
    same_by_hand(site, "--mode", "dr", *VIPS)


@pytest.mark.parametrize("directors", [(), ("--from", NEIGHBOUR4, "--from", NEIGHBOUR6)])
@pytest.mark.parametrize("tunnel", ["ipip", "gre"])
def test_for_tun_it_is_the_same_by_hand(
    site: Site, tunnel: str, directors: tuple[str, ...]
) -> None:
    if not has_devices(site):
        pytest.skip("this kernel has no tunnel devices: run `make test-stock-kernel`")
    same_by_hand(site, *TUN, "--tunnel", tunnel, *directors, *VIPS)


def test_of_gue_it_says_that_no_command_does_it(site: Site) -> None:
    script = site.realserver("up", "--mode", "tun", "--tunnel", "gue", *VIPS, "--print").stdout
    assert script.splitlines()[:2] == [
        f"# GUE in {outer}: by hand only with a device of your own; "
        "`lvsd realserver up` receives it itself"
        for outer in ("IPv4", "IPv6")
    ]
