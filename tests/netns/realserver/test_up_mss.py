"""``up --mode tun --mss``: what the virtual addresses say in SYNs and SYN-ACKs, and only they."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from lvsd.lab.wait import PATIENCE
from tests.netns.io.hosts import PATIENCE_S
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
    typed,
    wait_for,
    wrong,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scapy.packet import Packet

    from tests.netns.realserver.site import Site

TUN: Final = ("--mode", "tun", "--by", "lvsd", *VIPS)
FROM: Final = ("--from", NEIGHBOUR4)
ETH_P_ALL: Final = 3
PORT: Final = 80
SYN: Final = 0x02
NO_LINK: Final = "find the MSS that fits into the tunnel: no link with neighbours is up"
PEERS: Final = {VIP4: CLIENT4, VIP6: CLIENT6, SERVER4: CLIENT4, SERVER6: CLIENT6}


@contextmanager
def syns(site: Site) -> Iterator[dict[str, int]]:
    """Watch the server's SYNs and SYN-ACKs in the block; after it: sender -> MSS.

    The frames of what was connected in the block are there by then: who listens to all frames gets
    a frame before TCP does.
    """
    found: dict[str, int] = {}
    with site.neighbour.entered():
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with frames:
        yield found
        frames.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                read(Ether(frames.recv(2000)), found)


def read(frame: Packet, found: dict[str, int]) -> None:
    """Note the sender and the MSS of a SYN of the server's."""
    if TCP not in frame or not frame[TCP].flags & SYN or PORT not in {frame.sport, frame.dport}:
        return
    sender = frame[IP].src if IP in frame else frame[IPv6].src
    if sender not in PEERS.values():
        found[sender] = dict(frame[TCP].options)["MSS"]


def accept(site: Site, *addresses: str) -> None:
    """Have the server accept a TCP connection at each of its addresses."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with site.server.entered():
            listener = socket.create_server((address, PORT), family=family)
        with listener, site.neighbour.entered():
            socket.create_connection((address, PORT), PATIENCE_S, (PEERS[address], 0)).close()


def announced(site: Site, *addresses: str) -> list[int]:
    """Return the MSS in the SYN-ACK from each of the server's addresses."""
    site.neighbour.ip(f"route replace {VIP4} via {SERVER4}")
    site.neighbour.ip(f"route replace {VIP6} via {SERVER6}")
    with syns(site) as found:
        accept(site, *addresses)
    return [found[address] for address in addresses]


def test_without_it_the_virtual_addresses_say_what_the_link_takes(site: Site) -> None:
    with site.running(*TUN):
        assert announced(site, VIP4, VIP6) == [1460, 1440]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--mss", "1200"), [1200, 1200]),
        (("--mss", "1450"), [1450, 1440]),
        (("--mss", "auto"), [1420, 1400]),
        (("--mss", "auto", "--from", NEIGHBOUR4), [1440, 1420]),
        (("--mss", "auto", "--from", NEIGHBOUR6), [1420, 1400]),
        (("--mss", "auto", "--from", NEIGHBOUR4, "--tunnel", "gue"), [1428, 1408]),
        (("--mss", "auto", "--from", NEIGHBOUR6, "--tunnel", "gre"), [1412, 1392]),
    ],
)
def test_syn_acks_from_the_virtual_addresses_say_no_more(
    site: Site, words: tuple[str, ...], expected: list[int]
) -> None:
    with site.running(*TUN, *words):
        assert announced(site, VIP4, VIP6) == expected
        assert announced(site, SERVER4, SERVER6) == [1460, 1440]
        assert wrong(site) == []


def test_a_small_mss_of_the_programs_own_stays(site: Site) -> None:
    site.neighbour.ip(f"route replace {VIP4} via {SERVER4}")
    with site.running(*TUN, "--mss", "1200"):
        with site.server.entered():
            listener = socket.create_server((VIP4, PORT))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 700)
        with listener, syns(site) as found, site.neighbour.entered():
            socket.create_connection((VIP4, PORT), PATIENCE_S, (CLIENT4, 0)).close()
        assert found == {VIP4: 700}


@pytest.mark.parametrize(("vip", "client"), [(VIP4, CLIENT4), (VIP6, CLIENT6)])
def test_a_syn_from_a_virtual_address_says_no_more_either(
    site: Site, vip: str, client: str
) -> None:
    site.neighbour.ip(f"route replace {vip} via {SERVER6 if ':' in vip else SERVER4}")
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with site.running(*TUN, "--mss", "1000"):
        with site.neighbour.entered():
            listener = socket.create_server((client, PORT), family=family)
        with listener, syns(site) as found, site.server.entered():
            socket.create_connection((client, PORT), PATIENCE_S, (vip, 0)).close()
    assert found == {vip: 1000}


def test_the_mss_follows_the_way_to_the_director(site: Site) -> None:
    site.server.ip(f"route add {NEIGHBOUR4} dev eth0 mtu 1300")
    with site.running(*TUN, *FROM, "--mss", "auto"):
        assert announced(site, VIP4, VIP6) == [1240, 1220]


def test_the_mss_follows_the_link_and_status_says_when_it_has_changed(site: Site) -> None:
    with site.running(*TUN, *FROM, "--mss", "auto"):
        assert wrong(site) == []
        site.server.ip("link set eth0 mtu 1400")
        (what, remedy), (what6, _) = wrong(site)
        assert what == f"the MSS of SYNs from {VIP4} is 1440 at most, it should be 1340"
        assert what6 == f"the MSS of SYNs from {VIP6} is 1420 at most, it should be 1320"
        typed(site, remedy)
        assert wrong(site) == []
        assert announced(site, VIP4, VIP6) == [1340, 1320]


def test_status_finds_a_table_that_is_gone_or_does_nothing_and_says_what_mends_it(
    site: Site,
) -> None:
    with site.running("--mode", "tun", "--by", "lvsd", "--vip", VIP4, "--mss", "1200"):
        for spoilt in ("delete table inet", "flush table inet"):
            typed(site, f"nft {spoilt} lvsd_realserver")
            ((what, remedy),) = wrong(site)
            assert what == f"the MSS of SYNs from {VIP4} is not limited, it should be 1200"
            typed(site, remedy)
            assert wrong(site) == []
            assert announced(site, VIP4) == [1200]


def test_everything_is_put_back(site: Site) -> None:
    before = snapshot(site.server)
    with site.running(*TUN, "--mss", "auto"):
        assert "table inet lvsd_realserver {" in snapshot(site.server)["nftables"]
        site.realserver("down")
        wait_for(lambda: not list(site.state.iterdir()))
    assert snapshot(site.server) == before


def test_what_a_killed_program_left_is_put_back(site: Site) -> None:
    before = snapshot(site.server)
    with site.running(*TUN, "--mss", "auto") as program:
        program.kill()
        program.wait(PATIENCE_S)
    assert snapshot(site.server)["nftables"] != before["nftables"]
    done = site.realserver("down")
    assert "removed nftables table inet lvsd_realserver" in done.stdout.splitlines()
    assert snapshot(site.server) == before


def test_the_next_up_takes_over_or_leaves_out_what_a_killed_program_limited(site: Site) -> None:
    with site.running(*TUN, "--mss", "1200") as program:
        program.kill()
        program.wait(PATIENCE_S)
    with site.running(*TUN, "--mss", "1200") as program:
        assert announced(site, VIP4, VIP6) == [1200, 1200]
        program.kill()
        program.wait(PATIENCE_S)
    command = site.command("up", *TUN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        said = [other.stdout.readline().strip()]
        while not said[-1].startswith("up"):
            said.append(other.stdout.readline().strip())
        try:
            assert "removed nftables table inet lvsd_realserver" in said
            assert announced(site, VIP4, VIP6) == [1460, 1440]
        finally:
            other.terminate()


def test_an_operators_tables_are_left_alone(site: Site) -> None:
    typed(site, "nft 'add table inet filter; add chain inet filter mss'")
    before = snapshot(site.server)
    with site.running(*TUN, "--mss", "auto"):
        pass
    assert snapshot(site.server) == before


@pytest.mark.parametrize("mss", ["1200", "auto"])
def test_it_is_the_same_by_hand(site: Site, mss: str) -> None:
    words = (*TUN, *FROM, "--mss", mss)
    clean = snapshot(site.server)["nftables"]
    script = site.realserver("up", *words, "--print").stdout
    by_hand = [line for line in script.splitlines() if line.startswith("nft ")]
    undoing = [line[4:] for line in script.splitlines() if line.startswith("#   nft ")]
    assert undoing == ["nft 'delete table inet lvsd_realserver'"]
    with site.running(*words):
        ours = snapshot(site.server)["nftables"]
        assert "nft " not in site.realserver("up", *words, "--print").stdout
    typed(site, "\n".join(by_hand))
    assert snapshot(site.server)["nftables"] == ours
    with site.running(*words):
        assert wrong(site) == []
    assert snapshot(site.server)["nftables"] == ours
    typed(site, undoing[0])
    assert snapshot(site.server)["nftables"] == clean


def test_by_hand_a_table_that_is_different_goes_first(site: Site) -> None:
    typed(site, "nft 'add table inet lvsd_realserver; add chain inet lvsd_realserver mss'")
    script = site.realserver("up", *TUN, "--mss", "1200", "--print").stdout
    by_hand = [line for line in script.splitlines() if line.startswith("nft ")]
    assert by_hand[0] == "nft 'delete table inet lvsd_realserver'"
    typed(site, "\n".join(by_hand))
    with site.running(*TUN, "--mss", "1200"):
        assert wrong(site) == []


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("--mode", "dr", "--mss", "auto"), 64, "--mss go with --mode tun only"),
        (("--mode", "tun", "--mss", "web"), 64, "--mss web is neither auto nor 88 to 65495"),
        (("--mode", "tun", "--mss", "87"), 64, "--mss 87 is neither auto nor 88 to 65495"),
        (
            ("--mode", "tun", "--mss", "auto", "--from", "198.18.0.1"),
            71,
            "there is no way to 198.18.0.1; see `ip route`, or say it by --mss N",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    site: Site, words: tuple[str, ...], status: int, text: str
) -> None:
    site.server.ip("route replace unreachable 198.18.0.0/15")
    before = snapshot(site.server)
    done = site.realserver("up", *words, *VIPS)
    assert (done.returncode, done.stdout, text in done.stderr) == (status, "", True), done.stderr
    assert done.stderr.count("\n") == 1
    assert snapshot(site.server) == before


def test_without_a_link_that_has_neighbours_it_says_what_to_do(site: Site) -> None:
    site.server.ip("link set eth0 down")
    done = site.realserver("up", *TUN, "--mss", "auto")
    assert (done.returncode, done.stderr) == (
        71,
        f"lvsd: {NO_LINK}; name the director by --from, or say it by --mss N\n",
    )


def test_without_the_program_nft_it_says_what_to_install(site: Site) -> None:
    before = snapshot(site.server)
    command = ["env", "PATH=/nowhere", *site.command("up", *TUN, "--mss", "1200")]
    command = [*command[2:6], *command[:2], *command[6:]]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60 * PATIENCE
    )
    assert (done.returncode, done.stderr.endswith("; install the package nftables\n")) == (71, True)
    assert snapshot(site.server) == before
