"""A random TCP conversation through FULLNAT: both ends see one stream, whatever is lost.

Client and server are small TCPs that acknowledge, keep what comes out of order, send SACK blocks
and repeat. Every packet is written by scapy, goes through the translation, and may then be lost
or come later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from tests.property.examples import examples
from tests.unit.packet.told import read_proxy_header, read_toa
from tests.unit.packet.translations import CLIENT, VIRTUAL, Side, dissect, load

if TYPE_CHECKING:
    from forwarders.fullnat import ClientAddress

MASK: Final = 0xFFFFFFFF
isns: Final = st.one_of(st.integers(0, MASK), st.integers(MASK - 400, MASK), st.integers(0, 100))


def signed(number: int) -> int:
    """Return a difference of two sequence numbers."""
    return (number + (1 << 31) & MASK) - (1 << 31)


@dataclass(slots=True)
class End:
    """A TCP: what it sends from its initial number on, and what it got, by the peer's offset."""

    isn: int
    data: bytes
    sent: int = 0
    acked: int = 0
    peer_isn: int = 0
    got: bytearray = field(default_factory=bytearray)
    early: dict[int, int] = field(default_factory=dict)

    def segment(self, start: int, size: int) -> tuple[dict[str, Any], bytes]:
        """Return fields and payload for some of the data, and acknowledge what was got."""
        payload = self.data[start : start + size]
        self.sent = max(self.sent, start + len(payload))
        fields: dict[str, Any] = {
            "seq": self.isn + 1 + start & MASK,
            "ack": self.peer_isn + 1 + len(self.got) & MASK,
            "flags": "PA" if payload else "A",
        }
        if blocks := self.blocks():
            edges = tuple(self.peer_isn + 1 + edge & MASK for edge in blocks)
            fields["options"] = [("NOP", None), ("NOP", None), ("SAck", edges)]
        return fields, payload

    def blocks(self) -> list[int]:
        """Return the edges of at most three runs of bytes that came early, as offsets."""
        edges: list[int] = []
        for offset in sorted(self.early):
            if edges and edges[-1] == offset:
                edges[-1] += 1
            else:
                edges += [offset, offset + 1]
        return edges[:6]

    def take(self, segment: Any) -> None:
        """Take a segment: its data, and what it says of ours."""
        offset = signed(segment.seq - self.peer_isn - 1 & MASK)
        payload = bytes(segment.payload)
        for index, byte in enumerate(payload, offset):
            if index < len(self.got):
                assert self.got[index] == byte, "another byte than before"
            else:
                assert self.early.setdefault(index, byte) == byte, "two versions of one byte"
        while len(self.got) in self.early:
            self.got.append(self.early.pop(len(self.got)))
        acked = signed(segment.ack - self.isn - 1 & MASK)
        assert 0 <= acked <= self.sent, "acknowledged what was never sent"
        for name, value in segment.options:
            if name == "SAck":
                edges = [signed(edge - self.isn - 1 & MASK) for edge in value]
                assert all(0 <= edge <= self.sent for edge in edges)
                assert all(
                    left < right for left, right in zip(edges[::2], edges[1::2], strict=True)
                )
        self.acked = max(self.acked, acked)


class Conversation:
    """The two ends, the translation between, and the packets on the server's side of it."""

    def __init__(self, version: int, way: ClientAddress, isns: tuple[int, int, int]) -> None:
        client_isn, server_isn, isn = isns
        self.side = Side(version, way, isn=isn)
        self.isn = isn
        self.client = End(client_isn, bytes(range(200)), peer_isn=server_isn)
        self.server = End(server_isn, bytes(reversed(range(100))), peer_isn=isn)
        self.first_acks: list[Any] = []
        self.side.open(client_isn, server_isn, isn)
        self.late: list[Any] = []

    def to_server(self, start: int, size: int, fate: str) -> None:
        """Send some of the client's data; ``half`` loses the first of what comes out."""
        fields, payload = self.client.segment(start, size)
        for index, packet in enumerate(self.side.request(payload=payload, **fields)):
            if fields["ack"] == self.client.peer_isn + 1 & MASK:
                self.first_acks.append(packet)
            if fate == "late":
                self.late.append(packet)
            elif fate == "arrives" or (fate == "half" and index):
                self.server.take(packet[TCP])

    def to_client(self, start: int, size: int, fate: str) -> None:
        """Send some of the server's data."""
        fields, payload = self.server.segment(start, size)
        packet = self.side.reply(payload=payload, **fields)
        if fate in {"arrives", "half"}:
            self.client.take(packet[TCP])

    def finish(self) -> None:
        """Repeat what is not acknowledged, without loss, until all is, and once more."""
        for packet in self.late:
            self.server.take(packet[TCP])
        for _ in range(50):
            done = all(end.acked == len(end.data) for end in (self.client, self.server))
            self.to_server(self.client.acked, 90, "arrives")
            self.to_client(self.server.acked, 90, "arrives")
            if done:
                break
        self.to_server(self.client.acked, 0, "arrives")


fates = st.sampled_from(("arrives", "arrives", "lost", "late", "half"))
steps = st.tuples(st.sampled_from(("request", "reply")), st.booleans(), st.integers(0, 60), fates)


@examples(60)
@given(
    st.sampled_from((4, 6)),
    st.sampled_from(("toa", "proxy-v2", "none")),
    st.tuples(isns, isns, isns),
    st.lists(steps, min_size=6, max_size=20),
)
def test_both_ends_see_one_stream(
    version: int,
    way: ClientAddress,
    numbers: tuple[int, int, int],
    script: list[tuple[str, bool, int, str]],
) -> None:
    talk = Conversation(version, way, numbers)
    speaks = False
    for direction, again, size, fate in script:
        if direction == "request":
            end, send = talk.client, talk.to_server
            speaks = True
        else:
            end, send = talk.server, talk.to_client
            if not speaks:
                continue
        send(end.acked if again else end.sent, size, fate)
    talk.finish()

    got = bytes(talk.server.got)
    if way == "proxy-v2":
        parsed = read_proxy_header(got)
        assert parsed is not None
        assert (parsed.source, parsed.destination) == (CLIENT[version], VIRTUAL[version])
        got = got[parsed.length :]
    assert got == talk.client.data
    assert bytes(talk.client.got) == talk.server.data
    assert (talk.client.acked, talk.server.acked) == (200, 100)
    if way == "toa":
        loaded = [load(bytes(packet)) for packet in talk.first_acks]
        assert [read_toa(packet, 254) for packet in loaded] == [CLIENT[version]] * len(loaded)

    resets = talk.side.translation.resets()
    assert resets is not None
    to_client, to_server = (dissect(data)[TCP].seq for data in resets)
    assert to_client == talk.client.peer_isn + 1 + len(talk.client.got) & MASK
    assert to_server == talk.isn + 1 + len(talk.server.got) & MASK
    assert talk.side.translation.server_acked == to_server
