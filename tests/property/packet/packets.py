"""Random packets, written by scapy: an independent opinion on every byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    fragment6,
)
from scapy.layers.sctp import SCTP, SCTPChunkCookieEcho, SCTPChunkData, SCTPChunkInit
from scapy.packet import Raw

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint

NUMBERS: Final = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass(slots=True)
class Shape:
    """All of a packet but its ends, so that one can be written before and after."""

    version: int
    protocol: str
    ip: dict[str, Any]
    extensions: list[Any]
    transport: dict[str, Any]
    payload: bytes
    chunks: list[Any] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The protocol's number."""
        return NUMBERS[self.protocol]

    def layers(self, source: Endpoint, destination: Endpoint, ttl: int | None = None) -> Any:
        """Return scapy's packet with these ends, not yet bytes."""
        ends = {"src": str(ip_address(source[0])), "dst": str(ip_address(destination[0]))}
        life = {} if ttl is None else {"ttl" if self.version == 4 else "hlim": ttl}
        packet = (IP if self.version == 4 else IPv6)(**self.ip | ends | life)
        for extension in self.extensions:
            packet.add_payload(extension.copy())  # `/` would copy all that is before it, too
        ports = {"sport": source[1], "dport": destination[1]}
        if self.protocol == "tcp":
            packet.add_payload(TCP(**ports, **self.transport))
            packet.add_payload(Raw(self.payload))
        elif self.protocol == "udp":
            packet.add_payload(UDP(**ports, **self.transport))
            packet.add_payload(Raw(self.payload))
        else:
            packet.add_payload(SCTP(**ports, **self.transport))
            for chunk in self.chunks:
                packet.add_payload(chunk.copy())
        return packet

    def write(self, source: Endpoint, destination: Endpoint, ttl: int | None = None) -> bytes:
        """Return the packet with these ends as bytes, its lengths and checksums by scapy."""
        return bytes(self.layers(source, destination, ttl))

    def fragments(self, source: Endpoint, destination: Endpoint, size: int) -> list[bytes]:
        """Return the packet cut into fragments of about ``size`` bytes."""
        packet = self.layers(source, destination)
        if self.version == 4:
            return [bytes(part) for part in fragment(packet, fragsize=size)]
        header = packet.copy()
        header.remove_payload()
        header.plen = None
        whole = header / IPv6ExtHdrFragment(id=7) / packet.payload
        return [bytes(part) for part in fragment6(whole, 48 + max(size, 8))]


ports = st.integers(1, 0xFFFF)
u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


def addresses(version: int) -> st.SearchStrategy[bytes]:
    """Any address at all: what a rewriter does must not depend on it."""
    width = 4 if version == 4 else 16
    return st.binary(min_size=width, max_size=width)


def endpoints(version: int) -> st.SearchStrategy[Endpoint]:
    """Any address with any port but 0."""
    return st.tuples(addresses(version), ports)


@st.composite
def shapes(
    draw: st.DrawFn,
    versions: tuple[int, ...] = (4, 6),
    protocols: tuple[str, ...] = ("tcp", "udp", "sctp"),
    *,
    plain: bool = False,
    max_payload: int = 200,
) -> Shape:
    """Return a random packet, with options and extension headers unless ``plain``."""
    version = draw(st.sampled_from(versions))
    protocol = draw(st.sampled_from(protocols))
    payload = draw(st.binary(max_size=max_payload))
    ip: dict[str, Any]
    extensions: list[Any] = []
    if version == 4:
        ip = {"tos": draw(u8), "id": draw(u16), "ttl": draw(st.integers(1, 255))}
        ip["flags"] = draw(st.sampled_from(("", "DF")))
        if not plain:
            ip["options"] = draw(st.lists(ipv4_options, max_size=3))
    else:
        ip = {
            "tc": draw(u8),
            "fl": draw(st.integers(0, 0xFFFFF)),
            "hlim": draw(st.integers(1, 255)),
        }
        if not plain:
            extensions = draw(st.lists(ipv6_extensions, max_size=4))
    transport: dict[str, Any] = {}
    chunks: list[Any] = []
    if protocol == "tcp":
        transport = {"seq": draw(u32), "ack": draw(u32), "flags": draw(u8), "window": draw(u16)}
        transport["urgptr"] = draw(u16)
        transport["options"] = [] if plain else draw(st.lists(tcp_options, max_size=4))
    elif protocol == "udp":
        transport = draw(st.sampled_from(({}, {"chksum": 0})))
    else:
        transport = {"tag": draw(u32)}
        chunks = draw(st.lists(sctp_chunks, min_size=1, max_size=2))
    return Shape(version, protocol, ip, extensions, transport, payload, chunks)


ipv4_options = st.one_of(
    st.just(IPOption(b"\x01")),
    st.binary(max_size=6).map(lambda data: IPOption(bytes((0x9E, 2 + len(data))) + data)),
)
ipv6_extensions = st.one_of(
    st.integers(0, 20).map(lambda size: IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(size))])),
    st.integers(0, 20).map(lambda size: IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(size))])),
    st.just(IPv6ExtHdrRouting(segleft=0, addresses=["2001:db8::1"])),
    st.just(IPv6ExtHdrFragment(id=1)),
)
tcp_options = st.one_of(
    st.just(("NOP", None)),
    u16.map(lambda value: ("MSS", value)),
    st.integers(0, 14).map(lambda value: ("WScale", value)),
    st.tuples(u32, u32).map(lambda value: ("Timestamp", value)),
    st.just(("SAckOK", b"")),
)
sctp_chunks = st.one_of(
    st.binary(max_size=100).map(lambda data: SCTPChunkData(data=data)),
    st.binary(max_size=40).map(lambda data: SCTPChunkCookieEcho(cookie=data)),
    u32.map(lambda tag: SCTPChunkInit(init_tag=tag)),
)


def ip_header(version: int, source: bytes, destination: bytes) -> Any:
    """Return scapy's IP header with these ends."""
    ends = {"src": str(ip_address(source)), "dst": str(ip_address(destination))}
    return IP(**ends, id=1) if version == 4 else IPv6(**ends)


def error(version: int, source: bytes, destination: bytes, quote: bytes) -> bytes:
    """Return time exceeded about a quoted packet."""
    header = ICMP(type=11) if version == 4 else ICMPv6TimeExceeded()
    return bytes(ip_header(version, source, destination) / header / Raw(quote))


def echo(version: int, source: bytes, destination: bytes, payload: bytes) -> bytes:
    """Return an echo request."""
    message = ICMP() / Raw(payload) if version == 4 else ICMPv6EchoRequest(data=payload)
    return bytes(ip_header(version, source, destination) / message)
