"""A real server for DR: it takes packets to the virtual addresses and never speaks of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from lvsd.lab.wait import PATIENCE
from tests.netns.io.hosts import PATIENCE_S, Host
from tests.netns.realserver.site import (
    CLIENT4,
    CLIENT6,
    NEIGHBOUR4,
    NEIGHBOUR6,
    SERVER4,
    SERVER6,
    VIP4,
    VIP6,
    VIPS,
    snapshot,
    sysctl,
)

if TYPE_CHECKING:
    from tests.netns.realserver.site import Site

DR: Final = ("--mode", "dr", *VIPS)
ETH_P_ALL: Final = 3


def mac_of(host: Host) -> str:
    done = subprocess.run(
        ["ip", "-n", host.name, "-j", "link", "show", "eth0"],
        check=True,
        capture_output=True,
        text=True,
    )
    return str(json.loads(done.stdout)[0]["address"])


def is_known(host: Host, address: str) -> bool:
    """Ask for the MAC of an address, as its traffic would; return whether there is an answer."""
    host.ip(f"route replace {address} dev eth0")
    subprocess.run(
        ["ip", "netns", "exec", host.name, "ping", "-c1", "-W1", address],
        check=False,
        capture_output=True,
    )
    done = subprocess.run(
        ["ip", "-n", host.name, "-j", "neighbour", "show", address, "dev", "eth0"],
        check=True,
        capture_output=True,
        text=True,
    )
    return any("lladdr" in entry for entry in json.loads(done.stdout))


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_nobody_learns_a_mac_for_a_virtual_address(site: Site, vip: str) -> None:
    assert site.realserver("up", *DR).returncode == 0
    assert (is_known(site.neighbour, SERVER4), is_known(site.neighbour, SERVER6)) == (True, True)
    assert not is_known(site.neighbour, vip)


def test_without_up_an_ipv4_address_on_lo_is_answered_for_and_an_ipv6_one_is_not(
    site: Site,
) -> None:
    site.server.ip(f"address add {VIP4}/32 dev lo")
    site.server.ip(f"address add {VIP6}/128 dev lo nodad")
    assert (is_known(site.neighbour, VIP4), is_known(site.neighbour, VIP6)) == (True, False)


def test_an_interface_that_means_less_by_a_greater_value_is_set_too(site: Site) -> None:
    sysctl(site.server, "net.ipv4.conf.eth0.arp_ignore", 4)
    assert site.realserver("up", *DR).returncode == 0
    assert not is_known(site.neighbour, VIP4)


def link_local(host: Host) -> str:
    done = subprocess.run(
        ["ip", "-n", host.name, "-o", "-6", "address", "show", "eth0", "scope", "link"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()[3].partition("/")[0]


def asked_by(host: Host, frames: socket.socket) -> set[str]:
    """Return who asked for a MAC among the frames that came from another host."""
    own, senders = mac_of(host), set()
    frames.settimeout(0.5)
    try:
        while True:
            frame = Ether(frames.recv(2000))
            if frame.src == own:
                continue
            if ARP in frame and frame[ARP].op == 1:
                senders.add(str(frame[ARP].psrc))
            if ICMPv6ND_NS in frame:
                senders.add(str(frame[IPv6].src))
    except TimeoutError:
        return senders


@pytest.mark.parametrize(
    ("vip", "gateway", "own"), [(VIP4, NEIGHBOUR4, SERVER4), (VIP6, NEIGHBOUR6, SERVER6)]
)
def test_a_reply_from_a_virtual_address_asks_for_the_gateway_with_the_hosts_own(
    site: Site, vip: str, gateway: str, own: str
) -> None:
    assert site.realserver("up", *DR).returncode == 0
    site.server.ip("neighbour flush dev eth0")
    with site.neighbour.entered():
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with frames, site.server.udp(vip, 5000) as program:
        program.sendto(b"reply", (gateway, 9))
        (asked,) = asked_by(site.neighbour, frames)
    assert asked in {own, link_local(site.server)}


@pytest.mark.parametrize(("vip", "client"), [(VIP4, CLIENT4), (VIP6, CLIENT6)])
def test_frames_with_a_virtual_address_reach_the_program(site: Site, vip: str, client: str) -> None:
    assert site.realserver("up", *DR).returncode == 0
    site.neighbour.ip(f"route add {vip} dev eth0")
    site.neighbour.ip(f"neighbour add {vip} lladdr {mac_of(site.server)} dev eth0")
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with site.server.entered():
        listener = socket.create_server((vip, 80), family=family)
    with listener:
        listener.settimeout(PATIENCE_S)
        with site.neighbour.entered():
            connection = socket.create_connection((vip, 80), PATIENCE_S, (client, 0))
        with connection:
            accepted, peer = listener.accept()
            accepted.close()
            assert peer[0] == client


def test_a_second_up_changes_nothing(site: Site) -> None:
    assert site.realserver("up", *DR).returncode == 0
    once, journal = snapshot(site.server), next(site.state.iterdir()).read_text()
    done = site.realserver("up", "--mode", "dr", "--vip", VIP6, "--vip", VIP4, "--vip", VIP4)
    assert (done.returncode, done.stdout) == (0, "up\n")
    again = next(site.state.iterdir()).read_text()
    assert snapshot(site.server) == once
    assert json.loads(again)["sysctls"] == json.loads(journal)["sysctls"]
    assert json.loads(again)["addresses"] == json.loads(journal)["addresses"]


def test_the_last_up_counts(site: Site) -> None:
    before = snapshot(site.server)
    assert site.realserver("up", *DR).returncode == 0
    done = site.realserver("up", "--mode", "dr", "--vip", "192.0.2.11")
    assert done.stdout.splitlines()[:2] == [f"removed {VIP6} from lo", f"removed {VIP4} from lo"]
    addresses = "\n".join(snapshot(site.server)["addresses"])
    assert ("192.0.2.11/32" in addresses, VIP4 in addresses, VIP6 in addresses) == (
        True,
        False,
        False,
    )
    site.realserver("down")
    assert snapshot(site.server) == before


def test_an_up_that_fails_leaves_nothing_behind(site: Site) -> None:
    before = snapshot(site.server)
    sysctl(site.server, "net.ipv6.conf.lo.disable_ipv6", 1)
    with_ipv6_off = snapshot(site.server)
    done = site.realserver("up", *DR)
    assert (done.returncode, "2001:db8:7::10" in done.stderr) == (71, True)
    assert snapshot(site.server) == with_ipv6_off != before
    assert list(site.state.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("--mode", "dr"), 64, "say which virtual address with --vip"),
        (("--mode", "dr", "--vip", "web"), 64, '"web" is not an IPv4 or IPv6 address'),
        (("--mode", "dr", "--vip", "::1"), 64, "::1 cannot be a virtual address"),
        (("--mode", "dr", "--vip", VIP4, "--tunnel", "gre"), 64, "go with --mode tun only"),
        (("--mode", "tun", "--vip", VIP4, "--port", "7"), 64, "--port goes with --tunnel gue"),
        (("--mode", "nat", "--vip", VIP4), 64, "invalid choice: 'nat'"),
        ((*DR, "--interface", "eth0"), 71, "it answers ARP for its addresses; take lo"),
        ((*DR, "--interface", "eth7"), 71, "put virtual addresses on eth7"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    site: Site, words: tuple[str, ...], status: int, text: str
) -> None:
    before = snapshot(site.server)
    done = site.realserver("up", *words)
    assert (done.returncode, done.stdout, text in done.stderr) == (status, "", True), done.stderr
    assert done.stderr.count("\n") == 1
    assert snapshot(site.server) == before


def test_without_the_capability_it_says_so(site: Site) -> None:
    before = snapshot(site.server)
    command = site.command("up", *DR)
    at = command.index(site.server.name) + 1
    command[at:at] = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60 * PATIENCE
    )
    assert (done.returncode, "CAP_NET_ADMIN" in done.stderr) == (77, True), done.stderr
    assert snapshot(site.server) == before


def test_two_at_once_are_not_allowed_to_differ(site: Site) -> None:
    tun = ("--mode", "tun", "--by", "lvsd", "--vip", VIP4)
    with site.running(*tun) as program:
        same = site.realserver("up", *tun)
        assert (same.returncode, same.stdout) == (0, f"up already, by pid {program.pid}\n")
        other = site.realserver("up", *DR)
        assert (other.returncode, "run `lvsd realserver down` first" in other.stderr) == (71, True)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_the_program_that_takes_headers_off_puts_all_back_when_it_ends(
    site: Site, number: signal.Signals, status: int
) -> None:
    before = snapshot(site.server)
    with site.running("--mode", "tun", "--by", "lvsd", *VIPS) as program:
        assert snapshot(site.server) != before
        os.kill(program.pid, number)
        assert program.wait(PATIENCE_S) == status
    assert snapshot(site.server) == before
    assert list(site.state.iterdir()) == []
