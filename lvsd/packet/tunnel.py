"""Tunnels: a packet put into another one, byte for byte as kernel IPVS does it, and taken out.

====  ========================================  ============================
kind  between the outer header and the packet   source
====  ========================================  ============================
ipip  nothing                                   RFC 2003, RFC 2473, RFC 4213
gue   UDP, 8 bytes, and GUE variant 0, 4 bytes  draft-ietf-intarea-gue
gre   GRE, 4 bytes, 8 with checksum             RFC 2784
====  ========================================  ============================

The outer header (ip_vs_tunnel_xmit, ip_vs_tunnel_xmit_v6):

- TTL or hop limit: the inner packet's, after one is taken off it. The outer packet is new here, so
  nobody takes another.
- DS field: the inner packet's. ECN too, but congestion that was already met (CE) becomes ECT(0),
  so that what the outer packet meets can be told apart (RFC 3168, section 9.1.1).
- DF: the inner packet's, as the sysctl pmtu_disc is on; off for IPv6 inside, which has no such bit.
- Identification: the caller's; 0 with DF, where none is needed (RFC 6864, section 4.1).
- Flow label 0, and no IPv6 extension headers.
- The UDP checksum is 0 unless asked for, over IPv6 too, as RFC 6935 lets tunnels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.packet.checksum import apply, checksum, delta, pseudo_header
from lvsd.packet.layout import BY_WIDTH, DONT_FRAGMENT, IPV4, LAYOUTS, Layout
from lvsd.packet.numbers import UDP
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Collection

    from forwarders.plan import Encapsulate

Wrap: TypeAlias = Callable[[Packet, int], bytes]
_Outer: TypeAlias = Callable[[int, int, int, int, int], bytes]
"""Takes DS field, TTL, DF bit, identification and the length of what follows."""
_Between: TypeAlias = Callable[[bytes, bytes], bytes]
"""Takes the key of the inner flow, and the inner packet."""

IPV4_INSIDE: Final = 4
IPV6_INSIDE: Final = 41
GRE: Final = 47
"""Protocol numbers of what is in a tunnel (IANA, Assigned Internet Protocol Numbers)."""

LEAST_SOURCE_PORT: Final = 32768
SOURCE_PORTS: Final = 60999 - LEAST_SOURCE_PORT
"""GUE's source ports are the kernel's for its own flows, but for the last (udp_flow_src_port)."""

MAX_LENGTH: Final = 0xFFFF
"""What a length field can say: IPv4's counts its header, IPv6's does not."""

_INSIDE: Final = {4: IPV4_INSIDE, 6: IPV6_INSIDE}
_VERSIONS: Final = {IPV4_INSIDE: 4, IPV6_INSIDE: 6}
_ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
_INSIDE_ETHERTYPE: Final = {0x0800: IPV4_INSIDE, 0x86DD: IPV6_INSIDE}

_ECN: Final = 3
_CE: Final = 3
_ECT_0: Final = 2
_ONE_HOP: Final = delta(b"\x01\x00", b"\x00\x00")

_GRE_CHECKSUM: Final = 0x8000
_GRE_REFUSED: Final = 0x7C07
"""Bits that a receiver must not ignore (RFC 2784, section 2.2), and the version."""
_GUE_EXTENT: Final = 0x1F
"""GUE's header length beyond the first 4 bytes, in words; above are variant and control flag."""

_INNER_IPV4: Final = IPV4.reader(
    "dsfield", "fragmentation", "ttl", "protocol", "checksum"
).unpack_from
_HOPS: Final = Struct("!BBH").pack
_UDP_GUE: Final = Struct("!HHHHBBH").pack
_GUE: Final = Struct("!BBH").unpack_from
_WORDS: Final = Struct("!HH")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A way into outer packets, compiled.

    ``overhead`` is what it adds to a packet, ``longest`` the longest packet that it takes, both in
    bytes. ``wrap`` takes a loaded packet and an identification for the outer one, and returns that;
    nothing (``b""``) for a packet longer than ``longest``. It takes one off a TTL above 0, leaves
    padding out, and never raises.
    """

    overhead: int
    longest: int
    wrap: Wrap


def compile_tunnel(step: Encapsulate) -> Tunnel:
    """Return the tunnel that a step asks for, for inner packets of either family.

    Raise ValueError when its ends are of two families, or GUE has no port to go to.
    """
    if len(step.source) != len(step.destination):
        raise ValueError(f"{step}: both ends of a tunnel must be of one family")
    if step.kind == "gue" and not step.port:
        raise ValueError(f"{step}: GUE needs a UDP port")
    layout = BY_WIDTH[len(step.source)]
    added = {"ipip": 0, "gue": 12, "gre": 8 if step.checksum else 4}[step.kind]
    longest = MAX_LENGTH - added - (layout.length - layout.uncounted)
    ways = {version: (_outer(step, layout, version), _between(step, version)) for version in (4, 6)}

    def wrap(packet: Packet, identification: int) -> bytes:
        if packet.end > longest:
            return b""
        inner, dsfield, ttl, df = _one_hop_on(packet)
        if dsfield & _ECN == _CE:
            dsfield ^= _CE ^ _ECT_0
        outer, between = ways[packet.version]
        payload = between(packet.key, inner) + inner
        return outer(dsfield, ttl, df, identification, len(payload)) + payload

    return Tunnel(layout.length + added, longest, wrap)


def unwrap(data: bytes, gue_ports: Collection[int] = ()) -> bytes | None:
    """Return the packet inside a tunnel's, or None if this is no such packet.

    ``data`` is the outer packet, or as much of it as an ICMP error quotes; what is returned may be
    cut accordingly, but has its IP header. Of GUE only what goes to one of ``gue_ports`` counts.
    Later fragments have nothing inside; headers that ask for more than is done here (GUE's flags,
    GRE's key) make it another tunnel. Outer checksums are not looked at. Raises nothing.
    """
    outer = Packet()
    if outer.load(data, quoted=True) is not None or outer.fragment_offset:
        return None
    protocol, at, end = outer.protocol, outer.l4, outer.end
    if protocol == UDP:
        if outer.destination_port not in gue_ports or at + 12 > end:
            return None
        extent, protocol, flags = _GUE(data, at + 8)
        if extent > _GUE_EXTENT or flags:
            return None
        at += 12 + (extent << 2)
    elif protocol == GRE:
        if at + 4 > end:
            return None
        flags, ethertype = _WORDS.unpack_from(data, at)
        if flags & _GRE_REFUSED:
            return None
        protocol = _INSIDE_ETHERTYPE.get(ethertype, 0)
        at += 8 if flags & _GRE_CHECKSUM else 4
    version = _VERSIONS.get(protocol)
    if version is None or at + LAYOUTS[version].length > end or data[at] >> 4 != version:
        return None
    return data[at:end]


def _one_hop_on(packet: Packet) -> tuple[bytes, int, int, int]:
    """Return (the packet with one TTL less, its DS field, that TTL, its DF bit)."""
    data, end = packet.data, packet.end
    ttl = packet.ttl and packet.ttl - 1
    if packet.version == 6:
        return (
            data[:7] + bytes((ttl,)) + data[8:end],
            _WORDS.unpack_from(data)[0] >> 4 & 0xFF,
            ttl,
            0,
        )
    dsfield, fragmentation, old, protocol, check = _INNER_IPV4(data)
    if ttl != old:
        check = apply(check, _ONE_HOP)
    inner = data[:8] + _HOPS(ttl, protocol, check) + data[12:end]
    return inner, dsfield, ttl, fragmentation & DONT_FRAGMENT


def _outer(step: Encapsulate, layout: Layout, version: int) -> _Outer:
    """Return the writer of the outer header of packets of ``version``."""
    ends = step.source + step.destination
    protocol = {"ipip": _INSIDE[version], "gue": UDP, "gre": GRE}[step.kind]
    pack, first, header = layout.front.pack, layout.first, layout.length

    def ipv4(dsfield: int, ttl: int, df: int, identification: int, length: int) -> bytes:
        number = 0 if df else identification & 0xFFFF
        length += header
        check = checksum(b"", unchanging + dsfield + length + number + df + (ttl << 8))
        return pack(first, dsfield, length, number, df, ttl, protocol, check) + ends

    def ipv6(dsfield: int, ttl: int, _df: int, _identification: int, length: int) -> bytes:
        return pack(first | dsfield << 20, length, protocol, ttl) + ends

    if layout is not IPV4:
        return ipv6
    unchanging = int.from_bytes(ends, "big") + (first << 8) + protocol
    return ipv4


def _between(step: Encapsulate, version: int) -> _Between:
    """Return the writer of what stands between the outer header and a packet of ``version``.

    Its checksums begin with the sum of its own words.
    """
    inside, ethertype, port = _INSIDE[version], _ETHERTYPES[version], step.port
    pseudo = pseudo_header(step.source, step.destination, UDP, 0)

    def gue(key: bytes, inner: bytes) -> bytes:
        length = 12 + len(inner)
        source_port = LEAST_SOURCE_PORT + ((hash(key) & 0xFFFFFFFF) * SOURCE_PORTS >> 32)
        check = 0
        if step.checksum:
            words = source_port + port + length + inside
            check = checksum(inner, pseudo + length + words) or 0xFFFF
        return _UDP_GUE(source_port, port, length, check, 0, inside, 0)

    def gre(_key: bytes, inner: bytes) -> bytes:
        check = checksum(inner, _GRE_CHECKSUM + ethertype)
        return _WORDS.pack(_GRE_CHECKSUM, ethertype) + _WORDS.pack(check, 0)

    if step.kind == "gue":
        return gue
    if step.kind == "gre" and step.checksum:
        return gre
    constant = _WORDS.pack(0, ethertype) if step.kind == "gre" else b""
    return lambda _key, _inner: constant
