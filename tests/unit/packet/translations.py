"""FULLNAT connections to play with: their ends, and packets that scapy writes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from forwarders.base import Ends
from forwarders.fullnat import ClientAddress, Fullnat
from lvsd.packet.address import pack, text
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.translator import Translator
from lvsd.packet.view import Endpoint, Packet, key

if TYPE_CHECKING:
    from lvsd.packet.translation import Translation

CLIENT: Final = {4: (pack("198.51.100.7"), 40000), 6: (pack("2001:db8::7"), 40000)}
VIRTUAL: Final = {4: (pack("192.0.2.10"), 80), 6: (pack("2001:db8::10"), 80)}
LOCAL: Final = {4: (pack("10.0.0.2"), 1025), 6: (pack("fd00::2"), 1025)}
REAL: Final = {4: (pack("10.1.0.11"), 8080), 6: (pack("fd00:11::11"), 8080)}

AllEnds: TypeAlias = tuple[Endpoint, Endpoint, Endpoint, Endpoint]
"""Client, virtual, local, real."""

TCP_NUMBER, UDP_NUMBER = 6, 17
MTU: Final = 1500
ISN: Final = 0xFFFF_FFF0
"""What the server is to see: the stream wraps around soon."""


def translation(
    version: int,
    protocol: int = TCP_NUMBER,
    way: ClientAddress = "toa",
    *,
    isn: int = ISN,
    kind: int = 254,
    counts: ClientAddressCounts | None = None,
) -> Translation:
    """Return the translation of a new connection between the ends above."""
    ends = CLIENT[version], VIRTUAL[version], LOCAL[version], REAL[version]
    return translated(Fullnat(way, kind), protocol, ends, isn, counts or ClientAddressCounts())


def translated(
    forwarder: Fullnat, protocol: int, ends: AllEnds, isn: int, counts: ClientAddressCounts
) -> Translation:
    """Return the translation of a connection between other ends."""
    client, virtual, local, real = ends
    plan = forwarder.plan(Ends(*virtual, *real, local=local, client=client))
    translator = Translator(plan, protocol, counts)
    return translator.translation(
        key(protocol, *client, *virtual), key(protocol, *real, *local), isn
    )


def write(
    source: Endpoint, destination: Endpoint, transport: Any, payload: bytes = b"", **ip: Any
) -> bytes:
    """Return a packet; ``ip`` are scapy's fields of the IP header, ``ttl`` for both versions."""
    ends = {"src": text(source[0]), "dst": text(destination[0])}
    ttl = ip.pop("ttl", 64)
    header = (
        IP(**ends, ttl=ttl, id=7, **ip) if len(source[0]) == 4 else IPv6(**ends, hlim=ttl, **ip)
    )
    transport = transport.copy()
    transport.sport, transport.dport = source[1], destination[1]
    return bytes(header / transport / Raw(payload))


def load(data: bytes) -> Packet:
    """Return a loaded packet."""
    packet = Packet()
    assert packet.load(data) is None
    return packet


def dissect(data: bytes) -> Any:
    """Return what scapy reads in a packet."""
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


def intact(data: bytes) -> bool:
    """Tell whether lengths and checksums are what scapy computes."""
    packet = dissect(data)
    for layer in (IP, IPv6, TCP, UDP):
        if layer in packet:
            for name in ("len", "plen", "chksum"):
                if hasattr(packet[layer], name) and not (layer is IPv6 and name == "chksum"):
                    packet[layer].delfieldval(name)
    return bytes(packet) == data


class Side:
    """A TCP connection that both ends' packets go through."""

    def __init__(self, version: int, way: ClientAddress = "toa", **options: Any) -> None:
        self.version = version
        self.counts = ClientAddressCounts()
        self.translation = translation(version, TCP_NUMBER, way, counts=self.counts, **options)

    def request(self, mtu: int = MTU, payload: bytes = b"", **fields: Any) -> list[Any]:
        """Return what the server gets, dissected; each packet's checksums are looked at."""
        data = write(CLIENT[self.version], VIRTUAL[self.version], TCP(**fields), payload)
        out = self.translation.request(load(data), mtu)
        assert all(map(intact, out))
        return [dissect(one) for one in out]

    def reply(self, payload: bytes = b"", **fields: Any) -> Any:
        """Return what the client gets, dissected."""
        data = write(REAL[self.version], LOCAL[self.version], TCP(**fields), payload)
        out = self.translation.reply(load(data))
        assert intact(out)
        return dissect(out)

    def open(self, client_isn: int = 1000, server_isn: int = 5000, isn: int = ISN) -> None:
        """Play the SYN and the SYN-ACK."""
        self.request(flags="S", seq=client_isn)
        self.reply(flags="SA", seq=server_isn, ack=isn + 1 & 0xFFFFFFFF)
