"""Packets from a client to a VIP, written by scapy."""

from __future__ import annotations

from typing import Final

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

CIP: Final = {4: "198.51.100.7", 6: "2001:db8::7"}
VIP: Final = {4: "192.0.2.10", 6: "2001:db8::10"}
CPORT: Final = 40000
VPORT: Final = 80


def sample(version: int, protocol: int, payload: int = 24) -> bytes:
    """Return a packet with so many bytes of payload; the protocol is TCP, UDP or SCTP."""
    ip = IP(src=CIP[4], dst=VIP[4]) if version == 4 else IPv6(src=CIP[6], dst=VIP[6])
    ports = {"sport": CPORT, "dport": VPORT}
    data = bytes(range(256))[:payload].ljust(payload, b"\xa5")
    transport = {
        6: TCP(**ports, flags="A") / Raw(data),
        17: UDP(**ports) / Raw(data),
        132: SCTP(**ports) / SCTPChunkData(data=data),
    }
    return bytes(ip / transport[protocol])
