"""A translation is composed of layers, and whoever puts segments together knows none of them.

A layer that no module of lvsd knows moves the server's numbers, as a proxy that has answered the
client's SYN itself has to. Put around FULLNAT's own, it makes a right translation.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6

import lvsd.packet
from lvsd.packet import icmp
from lvsd.packet.address import text
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.numbering import MASK, Numbering
from lvsd.packet.tcp_translation import TcpTranslation
from lvsd.packet.tell_option import Toa
from lvsd.packet.tell_proxy import ProxyStream
from lvsd.packet.telling import TcpTelling
from lvsd.packet.view import Packet, key
from tests.unit.packet.translations import CLIENT, ISN, LOCAL, MTU, REAL, VIRTUAL, load, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarders.fullnat import ClientAddress
    from lvsd.packet.translation import Memory
    from lvsd.packet.view import Endpoint

DELTA = 0x8000_0123
CLIENT_ISN, SERVER_ISN = 1000, 0xFFFF_FF00
SERVER_AS_SEEN = SERVER_ISN + DELTA & MASK

PACKET = Path(lvsd.packet.__file__).parent


class ServerDelta(Numbering):
    """Shows the client the server's stream further on by `DELTA`; the rest is another layer's."""

    __slots__ = ("_inner",)

    moves_server: ClassVar[bool] = True

    def __init__(self, inner: Numbering) -> None:
        super().__init__(telling=inner.telling)
        self._inner = inner

    def request(self, seq: int, ack: int, flags: int) -> tuple[int, int]:
        """Move the acknowledgement back; it means nothing in a segment without one."""
        numbers = self._inner.request(seq, ack - DELTA & MASK if flags & 0x10 else ack, flags)
        self._learn()
        return numbers

    def reply(self, seq: int, ack: int, flags: int, length: int) -> tuple[int, int]:
        """Move the sequence number on."""
        seq, ack = self._inner.reply(seq, ack, flags, length)
        self._learn()
        return seq + DELTA & MASK, ack

    def sent_request(self, seq: int, ack: int) -> tuple[int, int]:
        """Move a quoted acknowledgement as the client sent it."""
        seq, ack = self._inner.sent_request(seq, ack)
        return seq, ack + DELTA & MASK

    def sent_reply(self, seq: int, ack: int) -> tuple[int, int]:
        """Move a quoted sequence number as the server sent it."""
        return self._inner.sent_reply(seq - DELTA & MASK, ack)

    def request_edge(self, number: int) -> int:
        """Move an edge of the client's SACK."""
        return self._inner.request_edge(number - DELTA & MASK)

    def reply_edge(self, number: int) -> int:
        """Leave the server's SACK to the other layer."""
        return self._inner.reply_edge(number)

    def unconfirmed(self, ack: int, flags: int) -> bool:
        """Ask the other layer, whose numbers requests have by now."""
        return self._inner.unconfirmed(ack, flags)

    def overlaps(self, seq: int, flags: int) -> bool:
        """Ask the other layer."""
        return self._inner.overlaps(seq, flags)

    def lead(self, seq: int, flags: int) -> int | None:
        """Ask the other layer."""
        return self._inner.lead(seq, flags)

    def inserts(self, number: int) -> bool:
        """Ask the other layer."""
        return self._inner.inserts(number)

    def answers_syn(self, ack: int) -> bool:
        """Ask the other layer."""
        return self._inner.answers_syn(ack)

    def memory(self) -> Memory:
        """Return the other layer's: this one learns nothing."""
        return self._inner.memory()

    def remember(self, memory: Memory) -> None:
        """Hand it on."""
        self._inner.remember(memory)
        self._learn()

    def _learn(self) -> None:
        self.telling, acked = self._inner.telling, self._inner.client_acked
        self.client_acked = None if acked is None else acked + DELTA & MASK
        self.server_acked = self._inner.server_acked


class Untold(TcpTelling):
    """Nothing told, with the layer around its numbers."""

    def numbering(self, isn: int) -> Numbering:
        """Put the layer around that of the way to tell."""
        return ServerDelta(super().numbering(isn))


class ByToa(Toa):
    """TOA, with the layer around its numbers."""

    def numbering(self, isn: int) -> Numbering:
        """Put the layer around that of the way to tell."""
        return ServerDelta(super().numbering(isn))


class ByProxy(ProxyStream):
    """The header of PROXY v2, with the layer around its numbers."""

    def numbering(self, isn: int) -> Numbering:
        """Put the layer around that of the way to tell."""
        return ServerDelta(super().numbering(isn))


WAYS: dict[ClientAddress, int] = {"none": 0, "toa": 0, "proxy-v2": 1}
"""How each tells, and whether a header goes ahead of the data."""


def connection(version: int, way: ClientAddress) -> TcpTranslation:
    width, counts = 4 if version == 4 else 16, ClientAddressCounts()
    telling = {
        "none": Untold(counts),
        "toa": ByToa(counts, 254, width),
        "proxy-v2": ByProxy(counts, width),
    }[way]
    request = key(6, *CLIENT[version], *VIRTUAL[version])
    return TcpTranslation(telling, request, key(6, *REAL[version], *LOCAL[version]), ISN)


def tcp(data: bytes) -> TCP:
    """Return the segment of a packet, whose checksums are right."""
    packet = (IP if data[0] >> 4 == 4 else IPv6)(data)
    segment = packet[TCP]
    fresh = packet.copy()
    del fresh[TCP].chksum
    assert bytes(fresh) == data
    return segment


def opened(version: int, way: ClientAddress) -> tuple[TcpTranslation, int]:
    """Return a connection after its handshake, and how far data is behind the server's ISN."""
    made = connection(version, way)
    client, virtual, local, real = (end[version] for end in (CLIENT, VIRTUAL, LOCAL, REAL))
    (syn,) = made.request(load(write(client, virtual, TCP(seq=CLIENT_ISN, flags="S"))), MTU)
    assert tcp(syn).seq == ISN
    synack = TCP(seq=SERVER_ISN, ack=ISN + 1 & MASK, flags="SA", options=[("MSS", 1460)])
    answer = tcp(made.reply(load(write(real, local, synack))))
    assert (answer.seq, answer.ack) == (SERVER_AS_SEEN, CLIENT_ISN + 1)
    ack = TCP(seq=CLIENT_ISN + 1, ack=SERVER_AS_SEEN + 1 & MASK, flags="A")
    sent = [tcp(each) for each in made.request(load(write(client, virtual, ack)), MTU)]
    assert [each.seq for each in sent] == [ISN + 1 & MASK]
    assert [each.ack for each in sent] == [SERVER_ISN + 1]
    ahead = len(bytes(sent[0].payload))
    assert (ahead > 0, way == "toa") == (bool(WAYS[way]), len(sent[0].options) > 0)
    known = TCP(seq=SERVER_ISN + 1, ack=ISN + 1 + ahead & MASK, flags="A")
    made.reply(load(write(real, local, known)))
    return made, ahead


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("way", WAYS)
def test_a_foreign_layer_moves_the_numbers_of_both_directions(
    version: int, way: ClientAddress
) -> None:
    made, ahead = opened(version, way)
    client, virtual, local, real = (end[version] for end in (CLIENT, VIRTUAL, LOCAL, REAL))
    block = (SERVER_AS_SEEN + 501 & MASK, SERVER_AS_SEEN + 601 & MASK)
    asks = TCP(
        seq=CLIENT_ISN + 1,
        ack=SERVER_AS_SEEN + 1 & MASK,
        flags="PA",
        options=[("NOP", None), ("NOP", None), ("SAck", block)],
    )
    (request,) = made.request(load(write(client, virtual, asks, b"question")), MTU)
    got = tcp(request)
    assert (got.seq, got.ack) == (ISN + 1 + ahead & MASK, SERVER_ISN + 1)
    assert dict(got.options)["SAck"] == (SERVER_ISN + 501 & MASK, SERVER_ISN + 601 & MASK)
    says = TCP(seq=SERVER_ISN + 1, ack=ISN + 9 + ahead & MASK, flags="PA")
    got = tcp(made.reply(load(write(real, local, says, b"answer"))))
    assert (got.seq, got.ack) == (SERVER_AS_SEEN + 1 & MASK, CLIENT_ISN + 9)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("way", WAYS)
def test_quoted_numbers_are_those_that_their_senders_used(version: int, way: ClientAddress) -> None:
    made, ahead = opened(version, way)
    client, virtual, local, real = (end[version] for end in (CLIENT, VIRTUAL, LOCAL, REAL))
    sent = TCP(seq=CLIENT_ISN + 1, ack=SERVER_AS_SEEN + 1 & MASK, flags="PA")
    original = write(client, virtual, sent, b"question")
    (request,) = made.request(load(original), MTU)
    quoted = _told_of(made.request_error, real, local, request)
    assert (quoted.seq, quoted.ack) == (CLIENT_ISN + 1, SERVER_AS_SEEN + 1 & MASK)
    says = TCP(seq=SERVER_ISN + 1, ack=ISN + 9 + ahead & MASK, flags="PA")
    reply = made.reply(load(write(real, local, says, b"answer")))
    quoted = _told_of(made.reply_error, client, virtual, reply)
    assert (quoted.seq, quoted.ack) == (SERVER_ISN + 1, ISN + 9 + ahead & MASK)


def _told_of(
    translate: Callable[[Packet, Packet], bytes], source: Endpoint, to: Endpoint, lost: bytes
) -> TCP:
    """Return the segment that an ICMP error about a lost packet quotes, once it is translated."""
    version = lost[0] >> 4
    message = ICMP(type=11) if version == 4 else ICMPv6TimeExceeded()
    packet, inner = load(_error(source, to, message, lost)), Packet()
    assert icmp.embedded(packet, inner) is None
    error = load(translate(packet, inner))
    assert icmp.embedded(error, inner) is None
    return TCP(inner.data[inner.l4 : inner.end])


def _error(source: Endpoint, to: Endpoint, message: Any, lost: bytes) -> bytes:
    ends = {"src": text(source[0]), "dst": text(to[0])}
    header = IP(**ends) if lost[0] >> 4 == 4 else IPv6(**ends)
    return bytes(header / message / lost)


@pytest.mark.parametrize("way", WAYS)
def test_resets_have_the_numbers_that_each_end_waits_for(way: ClientAddress) -> None:
    made, ahead = opened(4, way)
    resets = made.resets()
    assert resets is not None
    to_client, to_server = map(tcp, resets)
    assert to_client.seq == SERVER_AS_SEEN + 1 & MASK
    assert to_server.seq == ISN + 1 + ahead & MASK


@pytest.mark.parametrize("way", WAYS)
def test_another_translation_goes_on_where_one_was(way: ClientAddress) -> None:
    made, _ = opened(4, way)
    other = connection(4, way)
    other.remember(made.memory())
    asks = TCP(seq=CLIENT_ISN + 1, ack=SERVER_AS_SEEN + 1 & MASK, flags="PA")
    packet = load(write(CLIENT[4], VIRTUAL[4], asks, b"question"))
    assert other.request(packet, MTU) == made.request(packet, MTU)
    assert other.resets() == made.resets()


def test_nobody_asks_a_layer_what_it_is() -> None:
    """Layers are classes of these modules; `isinstance` and enumerations of ways stay away."""
    layered = ("translation", "tcp_translation", "udp_translation", "segment", "exchanged_error")
    asked = {
        name
        for name in (*layered, "numbering", "renumbering", "inserting", "telling")
        for node in ast.walk(ast.parse((PACKET / f"{name}.py").read_text()))
        if isinstance(node, ast.Name) and node.id in {"isinstance", "type", "Enum"}
    }
    assert asked == set()
