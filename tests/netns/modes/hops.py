"""Packets as they were seen: captured by tcpdump at many places at once, their fields named.

scapy reads the headers that it knows; tunnels, TOA, UOA and PROXY headers are read by hand, from
their specifications, and never by the code that is tested.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.utils import RawPcapReader

from lvsd.lab import program
from lvsd.lab.wait import until
from tests.netns.traffic.site import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family

Fields: TypeAlias = dict[str, Any]
"""What a packet has, by names that are the same for IPv4 and IPv6."""

ANY: Final = "any"
"""Instead of an interface: all of a host, without Ethernet headers, packets out of tunnels too."""

GUE_PORT: Final = 6080
PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
ADDRESS_OPTIONS: Final = 248
"""DPVS's IP protocol that carries options, UOA among them."""

END_ETHERTYPE: Final = 0x88B5
"""For local experiments (IEEE 802): here the mark behind which a capture may end."""
END_MAC: Final = bytes.fromhex("030000000001")

OPTIONS: Final = ("-n", "-U", "--immediate-mode", "-s", "2048", "-B", "8192")
"""Each packet is in the file at once; room for some thousands of them, in KiB, as the machine may
be busy: whole segments of 64 KiB, which are not sent here, would leave room for 32."""

_IPIP, _IPV6, _GRE = 4, 41, 47
_ETHERTYPES: Final = {0x0800, 0x86DD}
_LINUX_COOKED: Final = 276
"""The link type of what is captured on all interfaces: 20 bytes, the ethertype first."""
_COOKED_BYTES: Final = 20


class Place(NamedTuple):
    """Where packets are seen: a host of the lab, and its interface or `ANY`."""

    host: str
    interface: str


class Captures:
    """What tcpdump wrote, by place; read when asked for."""

    def __init__(self, lab: Lab, files: dict[Place, Path]) -> None:
        self._lab = lab
        self._files = files
        self._read: dict[Place, list[tuple[Fields, Any]]] = {}

    def packets(
        self, place: Place, family: Family, protocol: str, ports: Collection[int], *, replies: bool
    ) -> list[Fields]:
        """Return the packets of a conversation in one direction, in order.

        They are those whose source (replies) or destination has one of the ports, in a tunnel or
        not. `ANY` shows those out of their tunnel only. Each is held to be well-formed.
        """
        if place not in self._read:
            self._read[place] = [(fields(*frame), frame[1]) for frame in self._frames(place)]
        found = []
        for seen, packet in self._read[place]:
            if place.interface == ANY and seen["outer"]:
                continue
            port = seen.get("source_port" if replies else "destination_port")
            if (seen["family"], seen["protocol"], port in ports) == (
                family,
                PROTOCOLS[protocol],
                True,
            ):
                assert faults(packet) == []
                found.append(seen)
        return found

    def bytes_of(self, place: Place, family: Family, protocol: int) -> list[bytes]:
        """Return the packets of an IP protocol, from the IP header on; not those in tunnels."""
        return [
            bytes(packet)
            for _, packet in self._frames(place)
            if packet.version == int(family[1]) and _next_header(packet) == protocol
        ]

    def _frames(self, place: Place) -> Iterator[tuple[bytes, Any]]:
        """Yield the Ethernet header and the packet of all that the interface sent or was sent."""
        own = b""
        if place.interface != ANY:
            with self._lab.host(place.host).entered():
                own = _mac(place.interface)
        with RawPcapReader(str(self._files[place])) as reader:
            for data, _ in reader:
                if reader.linktype == _LINUX_COOKED:
                    ethernet, kind, rest = b"", data[:2], data[_COOKED_BYTES:]
                else:
                    ethernet, kind, rest = data[:14], data[12:14], data[14:]
                overheard = ethernet and own not in {ethernet[:6], ethernet[6:12]}
                if int.from_bytes(kind, "big") in _ETHERTYPES and not overheard:
                    yield ethernet, (IP if rest[0] >> 4 == 4 else IPv6)(rest)


@contextlib.contextmanager
def captured(lab: Lab, places: Sequence[Place]) -> Iterator[Captures]:
    """Capture what passes these places inside the block.

    All of it is there at the end, or this fails.
    """
    files = {place: lab.directory / f"{place.host}-{place.interface}.pcap" for place in set(places)}
    running = {
        place: program.start(
            lab.host(place.host),
            ["tcpdump", *OPTIONS, "-i", place.interface, "-w", file],
            f"tcpdump-{place.interface}",
        )
        for place, file in files.items()
    }
    for tcpdump in running.values():
        assert until(lambda each=tcpdump: "listening on" in each.log, PATIENCE_S), tcpdump.log  # type: ignore[misc]  # a default binds it
    yield Captures(lab, files)
    for place, file in files.items():
        mark = f"end of {place.host} {place.interface}".encode()
        _mark_end(lab, place, mark)
        assert until(lambda file=file, mark=mark: mark in file.read_bytes(), PATIENCE_S)  # type: ignore[misc]  # likewise
        running[place].stop()
        assert "\n0 packets dropped by kernel" in running[place].log


def fields(ethernet: bytes, packet: Any) -> Fields:
    """Return the fields of a packet; of one in a tunnel with the tunnel's under ``outer``."""
    outer, packet = opened(packet)
    seen = network(packet) | {
        "to_mac": ethernet[:6].hex(":"),
        "from_mac": ethernet[6:12].hex(":"),
        "outer": outer,
    }
    if TCP in packet:
        tcp = packet[TCP]
        seen |= {
            "source_port": tcp.sport,
            "destination_port": tcp.dport,
            "seq": tcp.seq,
            "ack": tcp.ack,
            "flags": str(tcp.flags),
            "window": tcp.window,
            "urgent": tcp.urgptr,
            "options": tcp.options,
            "payload": bytes(tcp.payload),
        }
    elif UDP in packet:
        udp = packet[UDP]
        seen |= {
            "source_port": udp.sport,
            "destination_port": udp.dport,
            "payload": bytes(udp.payload),
        }
    return seen


def network(packet: Any) -> Fields:
    """Return the fields of an IP header."""
    if packet.version == 4:
        return {
            "family": "v4",
            "protocol": packet.proto,
            "source": packet.src,
            "destination": packet.dst,
            "ttl": packet.ttl,
            "tos": packet.tos,
            "identification": packet.id,
            "dont_fragment": bool(packet.flags.DF),
            "ip_options": bytes(packet)[20 : packet.ihl * 4],
        }
    return {
        "family": "v6",
        "protocol": packet.nh,
        "source": packet.src,
        "destination": packet.dst,
        "ttl": packet.hlim,
        "tos": packet.tc,
        "flow_label": packet.fl,
    }


def opened(packet: Any) -> tuple[Fields | None, Any]:
    """Return a tunnel's fields and the packet in it; None and the packet itself if there is none.

    IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784), GUE of variant 0 (draft-ietf-intarea-gue).
    """
    header = 20 if packet.version == 4 else 40
    protocol, inside = _next_header(packet), bytes(packet)[header:]
    if protocol in {_IPIP, _IPV6}:
        between: Fields = {"kind": "ipip"}
    elif protocol == _GRE:
        flags, ethertype = struct.unpack_from("!HH", inside)
        between = {"kind": "gre", "ethertype": ethertype, "has_checksum": flags == 0x8000}
        assert flags in {0, 0x8000}
        inside = inside[8 if flags else 4 :]
    elif protocol == socket.IPPROTO_UDP and packet[UDP].dport == GUE_PORT:
        udp = packet[UDP]
        between = {
            "kind": "gue",
            "source_port": udp.sport,
            "header": inside[8:12],
            "has_checksum": udp.chksum != 0,
        }
        inside = inside[12:]
    else:
        return None, packet
    return network(packet) | between, (IP if inside[0] >> 4 == 4 else IPv6)(inside)


def faults(packet: Any) -> list[str]:
    """Return the layers whose length or checksum scapy would write otherwise, tunnels' too.

    A UDP checksum that is not used (0) is not looked at. Of the two zeros Linux writes 0xffff when
    it finishes a checksum in software, also over TCP, where scapy writes 0.
    """
    wrong = []
    for layer in _layers(packet):
        own = bytes(layer)
        if isinstance(layer, UDP) and not layer.chksum:
            continue
        fresh = layer.__class__(own)
        if isinstance(layer, TCP | UDP):
            fresh.add_underlayer(layer.underlayer)
        for name in ("len", "plen", "chksum"):
            if name in fresh.fields and fresh.fields[name] is not None:
                fresh.delfieldval(name)
        anew = layer.__class__(bytes(fresh))
        if (anew.fields.get("chksum"), layer.fields.get("chksum")) == (0, 0xFFFF):
            anew.chksum = 0xFFFF
        if bytes(anew) != own:
            wrong.append(layer.name)
    _, inside = opened(packet)
    if _next_header(packet) == socket.IPPROTO_UDP and inside is not packet:
        wrong += faults(inside)
    return wrong


def proxy_v2(protocol: str, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """Return a PROXY v2 header (section 2.2 of its specification), written by hand."""
    v6 = ":" in source[0]
    transport = (0x20 if v6 else 0x10) | {"tcp": 1, "udp": 2}[protocol]
    ends = packed(source[0]) + packed(destination[0])
    ends += struct.pack("!HH", source[1], destination[1])
    signature = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
    return signature + bytes([0x21, transport]) + len(ends).to_bytes(2, "big") + ends


def packed(address: str) -> bytes:
    """Return an address as it lies in a packet."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _layers(packet: Any) -> Iterator[Any]:
    """Yield the layers of a packet that have a length or a checksum."""
    layer = packet
    while layer:
        if isinstance(layer, IP | IPv6 | TCP | UDP | GRE):
            yield layer
        layer = layer.payload


def _next_header(packet: Any) -> int:
    return int(packet.proto if packet.version == 4 else packet.nh)


def _mac(interface: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        return bytes(sock.getsockname()[4])


def _mark_end(lab: Lab, place: Place, mark: bytes) -> None:
    """Send a frame that ends the capture: whatever passed before stands in the file before it."""
    interface = "eth0" if place.interface == ANY else place.interface
    with (
        lab.host(place.host).entered(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock,
    ):
        sock.bind((interface, 0))
        sock.send(bytes(Ether(dst=END_MAC.hex(":"), type=END_ETHERTYPE) / mark))
