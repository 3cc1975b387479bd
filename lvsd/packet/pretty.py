"""A printer of packets: one line a layer, for people.

Takes any bytes and raises nothing. ::

    >>> print(pretty_lines(packet))
    IPv4 198.51.100.7 > 192.0.2.10, ttl 64, length 40, checksum 0x8e8a (right)
      TCP 40000 > 80 [SYN] seq 1000 win 8192 length 0, checksum 0x0325 (right)
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.address import endpoint, text
from lvsd.packet.checksum import checksum, crc32c, transport_checksum
from lvsd.packet.icmp import HEADER_BYTES, is_error
from lvsd.packet.layout import CHECKSUM_AT, ICMP_CHECKSUM, IPV4_CHECKSUM, PORTED
from lvsd.packet.numbers import PROTOCOL_NAMES, Chunk, Icmp, Icmp6, TcpFlag
from lvsd.packet.tcp_options import MSS, NOP, SACK, TIMESTAMP, options
from lvsd.packet.tunnel import IPV4_INSIDE, unwrap
from lvsd.packet.view import ICMP, ICMPV6, SCTP, TCP, UDP, Packet

if TYPE_CHECKING:
    from collections.abc import Collection

_NAMES: Final = PROTOCOL_NAMES | {IPV4_INSIDE: "IPIP"}

_U16: Final = Struct("!H").unpack_from
_U32: Final = Struct("!I").unpack_from

_CHUNKS: Final = {chunk.value: chunk.name.replace("_", " ") for chunk in Chunk}
_ICMP_TYPES: Final = {
    (protocol, kind.value): kind.name.lower().replace("_", " ")
    for protocol, kinds in ((ICMP, Icmp), (ICMPV6, Icmp6))
    for kind in kinds
}
_ICMP_CODES: Final[dict[tuple[int, int, int], str]] = {
    (ICMP, Icmp.UNREACHABLE, 0): "network unreachable",
    (ICMP, Icmp.UNREACHABLE, 1): "host unreachable",
    (ICMP, Icmp.UNREACHABLE, 2): "protocol unreachable",
    (ICMP, Icmp.UNREACHABLE, 3): "port unreachable",
    (ICMP, Icmp.UNREACHABLE, 4): "fragmentation needed",
    (ICMPV6, Icmp6.UNREACHABLE, 0): "no route",
    (ICMPV6, Icmp6.UNREACHABLE, 3): "address unreachable",
    (ICMPV6, Icmp6.UNREACHABLE, 4): "port unreachable",
}

WINDOW_SCALE: Final = 3
SACK_PERMITTED: Final = 4
TOA_KINDS: Final = frozenset({253, 254})
"""Where TOA is looked for: two kinds for experiments (RFC 4727), which its public versions use."""

_TOA_BYTES: Final = frozenset({8, 20})
_BARE: Final = {(NOP, 1): "nop", (SACK_PERMITTED, 2): "sack permitted"}

ETHERNET_BYTES: Final = 14
_ETHERTYPES: Final = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP"}


def pretty_lines(data: bytes, gue_ports: Collection[int] = ()) -> str:
    """Return a packet with a line for each layer, also those that it quotes or has inside.

    An ICMP error quotes, a tunnel has a packet inside; what goes to one of ``gue_ports`` is taken
    for GUE. A tunnel in a tunnel is not looked into.
    """
    return "\n".join(_layers(data, gue_ports, quoted=False, inside=False))


def pretty_frame(frame: bytes, gue_ports: Collection[int] = ()) -> str:
    """Return an Ethernet frame with a line for each layer; the packet's are those of its IP."""
    if len(frame) < ETHERNET_BYTES:
        return f"bad frame of {len(frame)} bytes: shorter than its header"
    (number,) = _U16(frame, 12)
    kind = _ETHERTYPES.get(number, f"type {number:#06x}")
    line = f"Ethernet {frame[6:12].hex(':')} > {frame[:6].hex(':')}, {kind}"
    if kind not in {"IPv4", "IPv6"}:
        return line
    return f"{line}\n{pretty_lines(frame[ETHERNET_BYTES:], gue_ports)}"


def _layers(data: bytes, gue_ports: Collection[int], *, quoted: bool, inside: bool) -> list[str]:
    packet = Packet()
    fault = packet.load(data, quoted=quoted)
    if fault:
        return [f"bad packet of {len(data)} bytes: {fault.value}"]
    ports = ""
    if packet.protocol in PORTED and not packet.fragment_offset:
        ports = f" {packet.source_port} > {packet.destination_port}"
    header = _header_checksum(packet)
    transport = _transport_checksum(packet, quoted=quoted)
    ip = f"IPv{packet.version} {text(packet.source)} > {text(packet.destination)}"
    lines = [
        f"{ip}, ttl {packet.ttl}, length {packet.end}{_sum(*header)}",
        f"  {_protocol(packet)}{ports} {_transport(packet)}{_sum(*transport)}",
    ]
    if said := _options(packet):
        lines.append(f"    options {', '.join(said)}")
    if _quotes(packet) and not quoted:
        inner = _layers(_quote(packet), gue_ports, quoted=True, inside=inside)
        lines.append(f"    about {inner[0]}")
        lines += [f"    {line}" for line in inner[1:]]
    if not inside and (held := unwrap(data[: packet.end], gue_ports)) is not None:
        inner = _layers(held, gue_ports, quoted=quoted, inside=True)
        lines += [f"    {line}" for line in inner]
    return lines


def _protocol(packet: Packet) -> str:
    return _NAMES.get(packet.protocol, f"protocol {packet.protocol}")


def _transport(packet: Packet) -> str:
    """Return what a transport header says, apart from its ports and checksum."""
    data, l4, room = packet.data, packet.l4, packet.end - packet.l4
    if packet.fragment_offset:
        return f"fragment at {packet.fragment_offset} length {room}"
    part = "first fragment " if packet.fragment else ""
    if packet.protocol == TCP:
        return part + _tcp(packet)
    if packet.protocol == UDP:
        return f"{part}length {_U16(data, l4 + 4)[0] - 8}"
    if packet.protocol == SCTP:
        return f"{part}{_chunk(packet.chunk)} length {max(0, room - 12)}"
    if packet.protocol in {ICMP, ICMPV6}:
        return part + _icmp(packet)
    return f"{part}length {room}"


def _tcp(packet: Packet) -> str:
    data, l4, room = packet.data, packet.l4, packet.end - packet.l4
    said = [f"seq {_U32(data, l4 + 4)[0]}"]
    if room >= 20:
        names = [flag.name for flag in TcpFlag if packet.flags & flag and flag.name]
        said.insert(0, f"[{' '.join(names)}]")
        if packet.flags & TcpFlag.ACK:
            said.append(f"ack {_U32(data, l4 + 8)[0]}")
        header = (data[l4 + 12] >> 4) * 4
        said += [f"win {_U16(data, l4 + 14)[0]}", f"length {max(0, room - header)}"]
    return " ".join(said)


def _options(packet: Packet) -> list[str]:
    return [_option(packet.data[at : at + length]) for _, at, length in options(packet)]


def _option(option: bytes) -> str:
    """Return what an option says; its kind and length if that is not known."""
    kind, length = option[0], len(option)
    bare = _BARE.get((kind, length))
    if bare:
        return bare
    if (kind, length) == (MSS, 4):
        return f"mss {_U16(option, 2)[0]}"
    if (kind, length) == (WINDOW_SCALE, 3):
        return f"wscale {option[2]}"
    if (kind, length) == (TIMESTAMP, 10):
        return f"ts {_U32(option, 2)[0]} echo {_U32(option, 6)[0]}"
    if kind == SACK and length > 2 and length % 8 == 2:
        edges = [_U32(option, at)[0] for at in range(2, length, 4)]
        blocks = zip(edges[::2], edges[1::2], strict=True)
        return f"sack {' '.join(f'{left}-{right}' for left, right in blocks)}"
    if kind in TOA_KINDS and length in _TOA_BYTES:
        return f"TOA {endpoint(option[4:], _U16(option, 2)[0])}"
    return f"kind {kind} of {length} bytes"


def _chunk(chunk: int) -> str:
    if chunk < 0:
        return "without a chunk"
    return f"[{_CHUNKS.get(chunk, f'chunk {chunk}')}]"


def _icmp(packet: Packet) -> str:
    kind, code = packet.icmp_type, packet.icmp_code
    name = _ICMP_CODES.get((packet.protocol, kind, code))
    if name is None:
        name = _ICMP_TYPES.get((packet.protocol, kind), f"type {kind}")
        name += f" code {code}" if code else ""
    if (packet.protocol, kind, code) == (ICMP, Icmp.UNREACHABLE, 4):
        name += f" mtu {_U16(packet.data, packet.l4 + 6)[0]}"
    elif (packet.protocol, kind) == (ICMPV6, Icmp6.TOO_BIG):
        name += f" mtu {_U32(packet.data, packet.l4 + 4)[0]}"
    return name


def _quotes(packet: Packet) -> bool:
    """Tell whether this is an error that quotes a packet. Quotes in quotes are not followed."""
    return is_error(packet) and packet.end - packet.l4 > HEADER_BYTES


def _quote(packet: Packet) -> bytes:
    return packet.data[packet.l4 + HEADER_BYTES : packet.end]


def _header_checksum(packet: Packet) -> tuple[int | None, str]:
    """Return the checksum of the IP header and what is to be said of it; None if it has none."""
    if packet.version == 6:
        return None, ""
    data = packet.data
    header = data[: (data[0] & 0x0F) * 4]
    return _U16(data, IPV4_CHECKSUM)[0], "wrong" if checksum(header) else "right"


def _transport_checksum(packet: Packet, *, quoted: bool = False) -> tuple[int | None, str]:
    """Return the transport's checksum and what is to be said of it; None if it has none.

    Nothing is said where not all that it covers is there, and "unused" of UDP's 0.
    """
    if packet.fragment_offset:
        return None, ""
    protocol, data, l4, end = packet.protocol, packet.data, packet.l4, packet.end
    whole = not (packet.fragment or quoted)
    if protocol == SCTP:
        if end - l4 < 12:
            return None, ""
        (value,) = _U32(data, l4 + 8)
        right = crc32c(data[l4 : l4 + 8] + bytes(4) + data[l4 + 12 : end])
        return value, _verdict(right == data[l4 + 8 : l4 + 12], whole)
    at = ICMP_CHECKSUM if protocol == ICMP else CHECKSUM_AT.get(protocol)
    if at is None or l4 + at + 2 > end:
        return None, ""
    (value,) = _U16(data, l4 + at)
    if protocol == UDP:
        if value == 0:
            return value, "unused"
        (length,) = _U16(data, l4 + 4)
        end = min(end, l4 + length)
    found = transport_checksum(data[l4:end], protocol, packet.source, packet.destination)
    return value, _verdict(found == 0, whole)


def _verdict(right: bool, whole: bool) -> str:  # noqa: FBT001 - it is of nothing else
    if not whole:
        return ""
    return "right" if right else "wrong"


def _sum(value: int | None, verdict: str) -> str:
    if value is None:
        return ""
    return f", checksum {value:#06x}" + (f" ({verdict})" if verdict else "")
