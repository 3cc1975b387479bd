"""What ``status`` finds: nothing on a good real server, and each thing that is taken away."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import PATIENCE
from tests.netns.realserver.site import VIP4, VIP6, VIPS, sysctl, wrong

if TYPE_CHECKING:
    from tests.netns.realserver.site import Site

DR = ("--mode", "dr", *VIPS)
TUN = ("--mode", "tun", "--by", "lvsd", *VIPS)


def test_without_up_it_says_so(site: Site) -> None:
    assert wrong(site) == [("nothing is up", "lvsd realserver up ...")]


def test_a_real_server_for_dr_is_good(site: Site) -> None:
    site.realserver("up", *DR)
    done = site.realserver("status")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            f"good   {VIP4} is on lo",
            f"good   {VIP6} is on lo",
            "good   no interface speaks of the virtual addresses by ARP",
        ],
    )


def test_a_missing_virtual_address_is_found(site: Site) -> None:
    site.realserver("up", *DR)
    site.server.ip(f"address delete {VIP4}/32 dev lo")
    remedy = f"ip address add {VIP4}/32 dev lo"
    assert wrong(site) == [(f"{VIP4} is missing on lo", remedy)]


@pytest.mark.parametrize(("vip", "bits"), [(VIP4, 32), (VIP6, 128)])
def test_a_virtual_address_on_an_interface_that_answers_is_found(
    site: Site, vip: str, bits: int
) -> None:
    site.realserver("up", *DR)
    site.server.ip(f"address add {vip}/{bits} dev eth0")
    what = f"{vip} is on eth0 as well, which answers for it"
    assert wrong(site) == [(what, f"ip address delete {vip}/{bits} dev eth0")]


@pytest.mark.parametrize(
    ("name", "value", "what", "remedy"),
    [
        ("all.arp_ignore", 0, "arp_ignore of eth0 is 0 in force, not 1", "all.arp_ignore=1"),
        ("eth0.arp_ignore", 3, "arp_ignore of eth0 is 3 in force, not 1", "eth0.arp_ignore=1"),
        ("all.arp_announce", 1, "arp_announce of eth0 is 1 in force, not 2", "all.arp_announce=2"),
    ],
)
def test_an_interface_that_speaks_is_found_and_the_remedy_mends_it(
    site: Site, name: str, value: int, what: str, remedy: str
) -> None:
    site.realserver("up", *DR)
    sysctl(site.server, f"net.ipv4.conf.{name}", value)
    assert wrong(site) == [(what, f"sysctl -w net.ipv4.conf.{remedy}")]
    setting, _, to = remedy.partition("=")
    sysctl(site.server, f"net.ipv4.conf.{setting}", int(to))
    assert wrong(site) == []


def test_a_real_server_for_tun_is_good_as_long_as_somebody_takes_headers_off(site: Site) -> None:
    with site.running(*TUN) as program:
        assert wrong(site) == []
        program.kill()
        program.wait(60 * PATIENCE)
    assert [what for what, _ in wrong(site)] == [
        f"nobody receives {inner} in {outer}"
        for inner in ("IPv4", "IPv6")
        for outer in ("IPv4", "IPv6")
    ]


def test_a_strict_rp_filter_is_found(site: Site) -> None:
    with site.running(*TUN):
        sysctl(site.server, "net.ipv4.conf.lvsd-tunnel.rp_filter", 0)
        assert wrong(site) == []
        sysctl(site.server, "net.ipv4.conf.all.rp_filter", 1)
        what = "rp_filter of lvsd-tunnel is strict: it drops what clients send"
        remedy = "sysctl -w net.ipv4.conf.lvsd-tunnel.rp_filter=2"
        assert set(wrong(site)) == {(what, remedy)}


def test_nobody_listening_is_found_only_when_asked(site: Site) -> None:
    site.server.ip("link set lo up")
    site.realserver("up", "--mode", "dr", "--vip", VIP4)
    assert wrong(site) == []
    ((what, remedy),) = wrong(site, "--listen", "80")
    assert what == f"nobody accepts TCP connections to {VIP4} port 80: Connection refused"
    assert remedy == "ss -ltnp sport = :80"
    with site.server.entered():
        listener = socket.create_server((VIP4, 80))
    with listener:
        assert wrong(site, "--listen", "80") == []


def test_it_can_be_asked_about_what_was_not_set_by_up(site: Site) -> None:
    assert [what for what, _ in wrong(site, *DR)] == [
        f"{VIP4} is missing on lo",
        f"{VIP6} is missing on lo",
        "arp_ignore of eth0 is 0 in force, not 1",
        "arp_announce of eth0 is 0 in force, not 2",
    ]
