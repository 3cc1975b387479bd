"""Outer headers taken off by lvsd itself: of every kind, for the virtual addresses only."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from lvsd.lab.wait import PATIENCE
from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum, pseudo_header
from tests.netns.io.hosts import PATIENCE_S
from tests.netns.realserver.site import (
    CLIENT4,
    CLIENT6,
    NEIGHBOUR4,
    NEIGHBOUR6,
    SERVER4,
    VIP4,
    VIP6,
    VIPS,
    has_devices,
    snapshot,
    sysctl,
    wait_for,
)
from tests.netns.realserver.tunnels import director, ethtool, outer, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scapy.packet import Packet

    from tests.netns.realserver.site import Site

PORT: Final = 5000
BYTES: Final = 20_000_000
TRANSFER_S: Final = 60.0 * PATIENCE

KINDS = ("ipip", "gre", "gue")
MIXES = [(family, version) for family in (4, 6) for version in (4, 6)]


def datagram(version: int, text: bytes, *, destination: str = "", tos: int = 0) -> Packet:
    """Return a client's datagram to the virtual address, or to another one."""
    udp = UDP(sport=40000, dport=PORT) / Raw(text)
    if version == 4:
        return IP(src=CLIENT4, dst=destination or VIP4, tos=tos) / udp
    return IPv6(src=CLIENT6, dst=destination or VIP6, tc=tos) / udp


@pytest.mark.parametrize("kind", KINDS)
def test_a_tunnelled_datagram_reaches_the_program_whatever_is_in_whatever(
    site: Site, kind: str
) -> None:
    with site.running("--mode", "tun", "--tunnel", kind, "--by", "lvsd", *VIPS):
        for family, version in MIXES:
            vip, client = (VIP4, CLIENT4) if version == 4 else (VIP6, CLIENT6)
            with site.server.udp(vip, PORT) as program:
                for checksum in (False, True):
                    text = f"{kind} {family} {version} {checksum}".encode()
                    send(site, outer(kind, family, datagram(version, text), checksum=checksum))
                    data, sender = program.recvfrom(100)
                    assert (data, sender[:2]) == (text, (client, 40000))


@pytest.mark.parametrize("kind", ["ipip", "gre"])
def test_a_kernel_with_devices_takes_the_same_tunnels_without_lvsd(site: Site, kind: str) -> None:
    if not has_devices(site):
        pytest.skip("this kernel has no tunnel devices: run `make test-stock-kernel`")
    before = snapshot(site.server)
    sysctl(site.server, "net.ipv4.conf.all.rp_filter", 1)
    for _ in range(2):
        up = site.realserver("up", "--mode", "tun", "--tunnel", kind, *VIPS)
        assert (up.returncode, up.stdout) == (0, "up\n")
    assert site.realserver("status").returncode == 0
    for family, version in MIXES:
        vip, client = (VIP4, CLIENT4) if version == 4 else (VIP6, CLIENT6)
        with site.server.udp(vip, PORT) as program:
            send(site, outer(kind, family, datagram(version, b"text")))
            data, sender = program.recvfrom(100)
            assert (data, sender[:2]) == (b"text", (client, 40000))
    site.realserver("down")
    sysctl(site.server, "net.ipv4.conf.all.rp_filter", 0)
    assert snapshot(site.server) == before


@pytest.mark.parametrize("kind", ["ipip", "gre"])
def test_a_kernels_devices_take_named_directors_tunnels_only(site: Site, kind: str) -> None:
    if not has_devices(site):
        pytest.skip("this kernel has no tunnel devices: run `make test-stock-kernel`")
    before = snapshot(site.server)
    tun = ("--mode", "tun", "--tunnel", kind, "--by", "kernel", *VIPS)
    directors = ("--from", NEIGHBOUR4, "--from", NEIGHBOUR6, "--from", "10.0.0.9")
    for named, delivered in ((directors, True), (("--from", "10.0.0.9"), False)):
        assert site.realserver("up", *tun, *named).returncode == 0
        assert site.realserver("status").returncode == 0
        for family, version in MIXES:
            with site.server.udp(VIP4 if version == 4 else VIP6, PORT) as program:
                if not delivered:
                    program.settimeout(0.2)
                send(site, outer(kind, family, datagram(version, b"text")))
                with nullcontext() if delivered else pytest.raises(TimeoutError):
                    assert program.recv(100) == b"text"
    site.realserver("down")
    assert snapshot(site.server) == before


def test_what_is_not_for_a_virtual_address_is_dropped_and_counted(site: Site) -> None:
    with site.running("--mode", "tun", "--by", "lvsd", *VIPS), site.server.udp(SERVER4) as own:
        port = own.getsockname()[1]
        foreign = IP(src=CLIENT4, dst=SERVER4) / UDP(sport=1, dport=port) / Raw(b"let me in")
        as_virtual = IP(src=VIP4, dst=VIP4) / UDP(sport=1, dport=port) / Raw(b"let me in")
        for inner in (foreign, as_virtual):
            send(site, outer("ipip", 4, inner))
        wait_for(lambda: counts(site).get("not_virtual") == 2)
        own.setblocking(False)
        with pytest.raises(BlockingIOError):
            own.recv(100)
        assert counts(site)["delivered"] == 0


@pytest.mark.parametrize(
    ("director_", "delivered"), [("10.0.0.1", 1), ("10.0.0.9", 0), ("2001:db8:2::1", 0)]
)
def test_with_from_only_that_directors_tunnels_are_taken(
    site: Site, director_: str, delivered: int
) -> None:
    tun = ("--mode", "tun", "--by", "lvsd", "--from", director_, "--from", "10.0.0.8")
    with site.running(*tun, *VIPS):
        send(site, outer("ipip", 4, datagram(4, b"text")))
        wait_for(lambda: bool(counts(site)))
        found = counts(site)
    assert (found["delivered"], found["not_director"]) == (delivered, 1 - delivered)


def test_garbage_in_a_tunnel_is_counted_and_nothing_ends(site: Site) -> None:
    with site.running("--mode", "tun", "--by", "lvsd", "--tunnel", "gre", *VIPS) as program:
        noise = random.Random(7)
        for length in range(60):
            send(site, IP(src=NEIGHBOUR4, dst=SERVER4, proto=47) / Raw(noise.randbytes(length)))
        wait_for(lambda: counts(site).get("malformed") == 60)
        with site.server.udp(VIP4, PORT) as listener:
            send(site, outer("gre", 4, datagram(4, b"still there")))
            assert listener.recv(100) == b"still there"
        assert program.poll() is None


def test_fragments_of_the_outer_packet_are_put_together(site: Site) -> None:
    with (
        site.running("--mode", "tun", "--by", "lvsd", *VIPS),
        site.server.udp(VIP4, PORT) as program,
    ):
        text = random.Random(7).randbytes(3000)
        for piece in fragment(outer("ipip", 4, datagram(4, text)), 1400):
            send(site, piece)
        assert program.recv(5000) == text


def test_congestion_on_the_tunnels_way_is_told_to_the_receiver(site: Site) -> None:
    with site.running("--mode", "tun", "--by", "lvsd", *VIPS):
        for family, version in MIXES:
            with site.server.udp(VIP4 if version == 4 else VIP6, PORT) as program:
                level = socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6
                option = socket.IP_RECVTOS if version == 4 else socket.IPV6_RECVTCLASS
                program.setsockopt(level, option, 1)
                inner = datagram(version, b"text", tos=0b10)
                send(site, outer("ipip", family, inner, tos=0b11))
                _, ((_, _, value),), _, _ = program.recvmsg(100, 64)
                assert value[0] == 0b11
        for version in (4, 6):
            send(site, outer("ipip", 4, datagram(version, b"unaware"), tos=0b11))
        wait_for(lambda: counts(site).get("congested") == 2)


def test_strict_rp_filter_for_all_interfaces_does_not_stop_tunnelled_packets(site: Site) -> None:
    sysctl(site.server, "net.ipv4.conf.all.rp_filter", 1)
    with (
        site.running("--mode", "tun", "--by", "lvsd", *VIPS),
        site.server.udp(VIP4, PORT) as program,
    ):
        send(site, outer("ipip", 4, datagram(4, b"text")))
        assert program.recv(100) == b"text"


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_that_the_kernel_left_uncomputed_is_computed(site: Site, version: int) -> None:
    inner = datagram(version, b"joined segments")
    vip, client = (VIP4, CLIENT4) if version == 4 else (VIP6, CLIENT6)
    length = 8 + len(b"joined segments")
    sum_of_pseudo_header = checksum(b"", pseudo_header(pack(client), pack(vip), 17, length))
    inner[UDP].chksum = 0xFFFF ^ sum_of_pseudo_header
    wrong = datagram(version, b"a wrong one stays wrong")
    wrong[UDP].chksum = 0x1234
    with (
        site.running("--mode", "tun", "--by", "lvsd", *VIPS),
        site.server.udp(vip, PORT) as program,
    ):
        send(site, outer("ipip", 4, wrong))
        send(site, outer("ipip", 4, inner))
        assert program.recv(100) == b"joined segments"


@pytest.mark.parametrize("gro", [False, True])
@pytest.mark.parametrize(
    ("kind", "family", "version"),
    [("ipip", 4, 4), ("ipip", 6, 6), ("ipip", 6, 4), ("ipip", 4, 6), ("gue", 4, 4), ("gre", 6, 6)],
)
def test_20_mb_go_both_ways_through_the_virtual_address(
    site: Site, kind: str, family: int, version: int, *, gro: bool
) -> None:
    ethtool(site, "gro", "on" if gro else "off")
    vip, client = (VIP4, CLIENT4) if version == 4 else (VIP6, CLIENT6)
    data = random.Random(7).randbytes(BYTES)
    sent = hashlib.sha256(data).hexdigest()
    with (
        site.running("--mode", "tun", "--tunnel", kind, "--by", "lvsd", *VIPS),
        director(site, kind, family, 1400),
        served(site, vip) as received,
    ):
        with site.neighbour.entered():
            connection = socket.create_connection((vip, 80), PATIENCE_S, (client, 0))
        with connection:
            connection.settimeout(TRANSFER_S)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == sent
        assert received == [sent]


@contextmanager
def served(site: Site, vip: str) -> Iterator[list[str]]:
    """Accept one TCP connection, read it to its end, and send the same back."""
    received: list[str] = []
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with site.server.entered():
        listener = socket.create_server((vip, 80), family=family)
    listener.settimeout(PATIENCE_S)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TRANSFER_S)
            data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            received.append(hashlib.sha256(data).hexdigest())
            connection.sendall(data)

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield received
        thread.join(PATIENCE_S)


def read_all(connection: socket.socket) -> str:
    """Return the digest of all that comes."""
    digest = hashlib.sha256()
    while data := connection.recv(1 << 16):
        digest.update(data)
    return digest.hexdigest()


def counts(site: Site) -> dict[str, int]:
    """Return what the server has counted."""
    report = json.loads(site.realserver("status", "--json").stdout)
    return report["counts"] or {}
