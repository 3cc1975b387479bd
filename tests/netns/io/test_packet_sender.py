"""Whole packets of our own on the wire, and those that do not get there."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from lvsd.io.divert import Divert, Diverted
from lvsd.io.packet_sender import PacketSender
from lvsd.packet.fragment import fragments
from tests.netns.io.hosts import CLIENT4, CLIENT6, MTU, nft
from tests.netns.io.wire import datagram, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.hosts import Row

VIP4, VIP6 = "198.51.100.10", "2001:db8:99::10"
"""No addresses of the director."""
ENDS = [pytest.param(VIP4, CLIENT4, id="ipv4"), pytest.param(VIP6, CLIENT6, id="ipv6")]
NOWHERE = [
    pytest.param(VIP4, "203.0.113.1", id="ipv4"),
    pytest.param(VIP6, "2001:db8:ff::1", id="ipv6"),
]
IDENTIFICATION = 0x1234

PAGE = Path(__file__).parents[3] / "docs" / "firewall.md"


@pytest.fixture
def sender(row: Row) -> Iterator[PacketSender]:
    """Open a sender in the director."""
    del row
    sender = PacketSender()
    sender.open()
    yield sender
    sender.close()


def packet(source: str, destination: str, payload: bytes) -> bytes:
    if ":" in source:
        return datagram(source, destination, payload)
    return datagram(source, destination, payload, id=IDENTIFICATION)


def received(frame: object) -> bytes:
    """Return a frame's packet without the padding of short frames."""
    layer = frame[IP] if IP in frame else frame[IPv6]  # type: ignore[index, operator] # scapy's
    whole = bytes(layer)
    return whole[: layer.len] if IP in layer else whole[: 40 + layer.plen]


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_a_packet_of_a_foreign_address_goes_out_as_it_was_given(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    data = packet(source, destination, b"payload")
    with wire(row.client) as client, row.client.udp(destination, 5400) as receiver:
        assert sender.send(data) == 0
        (frame,) = client.take(1)
        assert receiver.recvfrom(100)[1][:2] == (source, 5300)
    assert received(frame) == data
    assert (sender.stats.sent, sender.stats.failed) == (1, 0)


def test_the_kernel_numbers_an_ipv4_packet_of_identification_zero(
    row: Row, sender: PacketSender
) -> None:
    data = datagram(VIP4, CLIENT4, b"payload", id=0)
    with wire(row.client) as client:
        assert sender.send(data) == 0
        (frame,) = client.take(1)
    assert frame[IP].id != 0
    again = IP(received(frame))
    del again.chksum
    assert received(frame) == bytes(again), "its checksum is right"
    assert received(frame)[12:] == data[12:]


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_the_longest_packet_goes_and_one_byte_more_gives_the_mtu(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    fits = MTU - (28 if "." in source else 48)
    with wire(row.client) as client:
        assert sender.send(packet(source, destination, bytes(fits + 1))) == MTU
        assert sender.send(packet(source, destination, bytes(fits))) == 0
        (frame,) = client.take(1)
        assert client.nothing()
    assert len(received(frame)) == MTU
    assert (sender.stats.sent, sender.stats.too_long, sender.stats.failed) == (1, 1, 0)


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_another_mtu_counts_after_a_refresh(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    long = packet(source, destination, bytes(2000))
    assert sender.send(long) == MTU
    row.set_mtu(1400)
    assert sender.send(long) == MTU
    sender.refresh()
    assert sender.send(long) == 1400


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_the_mtu_is_learned_without_a_question_by_netlink(
    row: Row,
    sender: PacketSender,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    destination: str,
) -> None:
    """One would wait for whoever changes the network, as a routing daemon does."""
    del row
    opened: list[int] = []

    class Noted(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            opened.append(family)
            super().__init__(family, kind)

    monkeypatch.setattr(socket, "socket", Noted)
    assert sender.send(packet(source, destination, bytes(2000))) == MTU
    assert opened == [socket.AF_INET if "." in destination else socket.AF_INET6]


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_the_kernel_cuts_nothing_by_a_path_mtu_of_its_own(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    route = f"{destination} dev eth0 mtu 1300"
    row.director.ip(f"route add {route}")
    data = packet(source, destination, bytes(1400))
    try:
        with wire(row.client) as client:
            assert sender.send(data) == 0
            (frame,) = client.take(1)
    finally:
        row.director.ip(f"route del {route}")
    assert received(frame) == data


@pytest.mark.parametrize("tracking", ["", "table inet t { chain c { ct state new; }; }"])
@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_the_fragments_of_a_cut_packet_leave_as_they_are_and_arrive_whole(
    row: Row, sender: PacketSender, source: str, destination: str, tracking: str
) -> None:
    nft(tracking)
    divert = Divert(9)
    divert.up(Diverted())
    payload = bytes(range(250)) * 12
    pieces = fragments(packet(source, destination, payload), 700, IDENTIFICATION)
    with wire(row.client) as client, row.client.udp(destination, 5400) as receiver:
        assert [sender.send(piece) for piece in pieces] == [0] * len(pieces)
        frames = client.take(len(pieces))
        assert receiver.recv(4000) == payload
    divert.down()
    assert [received(frame) for frame in frames] == pieces
    assert len(pieces) > 4


@pytest.mark.parametrize(("source", "destination"), NOWHERE)
def test_a_packet_that_nobody_can_get_is_counted_by_its_errno(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    del row
    assert sender.send(packet(source, destination, b"")) == 0
    assert (sender.stats.sent, sender.stats.failed) == (0, 1)
    assert sender.errors == {"ENETUNREACH": 1}


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_an_output_chain_that_drops_is_counted_and_the_page_on_firewalls_names_the_rule(
    row: Row, sender: PacketSender, source: str, destination: str
) -> None:
    nft("""table inet filter { chain output {
        type filter hook output priority filter; policy drop; ct state established accept; }; }""")
    divert = Divert(9)
    divert.up(Diverted())
    data = packet(source, destination, b"payload")
    assert sender.send(data) == 0
    assert (sender.stats.sent, sender.errors) == (0, {"EPERM": 1})
    [rule] = re.findall(
        r"^    nft (insert rule inet filter output .*)$", PAGE.read_text(), re.MULTILINE
    )
    # Neighbour discovery is IPv6's own, and any firewall's.
    nft(f"{rule}\ninsert rule inet filter output icmpv6 type nd-neighbor-solicit accept")
    with wire(row.client) as client:
        assert sender.send(data) == 0
        assert received(client.take(1)[0]) == data
    divert.down()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\x45" + bytes(18),
        b"\x60" + bytes(38),
        b"\x50" + bytes(60),
        b"\x4f" + bytes(20),
        b"\x45" + bytes(19),
        b"\x45" + bytes(15) + b"\xff" * 4,
    ],
)
def test_what_is_no_packet_to_anybody_is_counted_and_raises_nothing(
    row: Row, sender: PacketSender, data: bytes
) -> None:
    del row
    assert sender.send(data) == 0
    assert sender.stats.sent + sender.stats.failed == 1


def test_the_way_follows_the_source_where_the_operator_routes_by_it(
    row: Row, sender: PacketSender
) -> None:
    """The client's packets from the VIP leave towards the server by a rule of their own."""
    for version, source, gateway in ((4, VIP4, "10.0.0.2"), (6, VIP6, "2001:db8:2::2")):
        row.director.ip(f"-{version} rule add from {source} table 77")
        row.director.ip(f"-{version} route add default via {gateway} table 77")
    try:
        with wire(row.server) as server:
            for source, destination in ((VIP4, CLIENT4), (VIP6, CLIENT6)):
                assert sender.send(packet(source, destination, b"x")) == 0
            frames = server.take(2)
    finally:
        for version, source in ((4, VIP4), (6, VIP6)):
            row.director.ip(f"-{version} rule del from {source} table 77")
            row.director.ip(f"-{version} route flush table 77")
    assert [len(received(frame)) for frame in frames] == [29, 49]


@pytest.mark.parametrize(
    ("version", "client", "director"),
    [(4, CLIENT4, "192.0.2.1"), (6, CLIENT6, "2001:db8:1::1")],
)
def test_nothing_piles_up_in_the_sockets(
    row: Row, sender: PacketSender, version: int, client: str, director: str
) -> None:
    """Neither packets of the sockets' own protocol number nor ICMP errors about what was sent."""
    foreign = PacketSender()
    with row.client.entered():
        foreign.open()
    header = IP(proto=socket.IPPROTO_RAW) if version == 4 else IPv6(nh=socket.IPPROTO_RAW)
    header.src, header.dst = client, director
    for _ in range(5):
        assert foreign.send(bytes(header / bytes(64))) == 0
        assert sender.send(datagram(director, client, b"nobody listens")) == 0
    foreign.close()
    with pytest.raises(BlockingIOError):
        sender._sockets[version].recv(100)
    assert (sender.stats.sent, foreign.stats.sent) == (5, 5)


def test_packets_beyond_what_the_interface_takes_are_counted_and_not_waited_for(
    row: Row, sender: PacketSender
) -> None:
    """A neighbour that does not answer keeps packets in the kernel until the buffer is full."""
    sender._sockets[4].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    row.director.ip("neigh flush all")
    data = packet(VIP4, "192.0.2.77", bytes(1400))
    for _ in range(20):
        assert sender.send(data) == 0
    assert sender.errors["EAGAIN"] == sender.stats.failed
    assert sender.stats.failed > 0
