"""ICMP errors about FULLNAT's packets: each side gets one about what it sent itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.packet import Raw

from lvsd.packet import icmp
from lvsd.packet.address import pack, text
from lvsd.packet.view import Endpoint, Packet
from tests.unit.packet.translations import (
    CLIENT,
    ISN,
    LOCAL,
    REAL,
    TCP_NUMBER,
    UDP_NUMBER,
    VIRTUAL,
    Side,
    dissect,
    load,
    translation,
    write,
)

if TYPE_CHECKING:
    from lvsd.packet.translation import Translation

BOTH = pytest.mark.parametrize("version", [4, 6])
ROUTER = {4: pack("10.1.0.254"), 6: pack("fd00:11::fe")}
CLIENT_ISN, SERVER_ISN = 1000, 5000
MASK = 0xFFFFFFFF


def error(source: bytes, destination: bytes, message: Any, quote: bytes, ttl: int = 64) -> bytes:
    ends = {"src": text(source), "dst": text(destination)}
    header = IP(**ends, ttl=ttl, id=1) if len(source) == 4 else IPv6(**ends, hlim=ttl)
    return bytes(header / message / Raw(quote))


def too_big(version: int, mtu: int) -> Any:
    return ICMP(type=3, code=4, nexthopmtu=mtu) if version == 4 else ICMPv6PacketTooBig(mtu=mtu)


def expired(version: int) -> Any:
    return ICMP(type=11) if version == 4 else ICMPv6TimeExceeded()


def opened(version: int, way: Any = "toa") -> Translation:
    side = Side(version, way)
    side.open(CLIENT_ISN, SERVER_ISN)
    return side.translation


def about_request(connection: Translation, data: bytes) -> bytes:
    packet, inner = load(data), Packet()
    assert icmp.embedded(packet, inner) is None
    return connection.request_error(packet, inner)


def about_reply(connection: Translation, data: bytes) -> bytes:
    packet, inner = load(data), Packet()
    assert icmp.embedded(packet, inner) is None
    return connection.reply_error(packet, inner)


@BOTH
@pytest.mark.parametrize("quoted", [8, 12, 18, 20, 25])
def test_an_error_about_a_request_quotes_what_the_client_sent(version: int, quoted: int) -> None:
    numbers = {"ack": SERVER_ISN + 1, "flags": "PA"}
    theirs = segment(REAL, LOCAL, version, seq=ISN + 1 & MASK, **numbers)
    ours = segment(VIRTUAL, CLIENT, version, seq=CLIENT_ISN + 1, **numbers)
    cut = {4: 20, 6: 40}[version] + quoted
    message = expired(version)
    data = error(ROUTER[version], LOCAL[version][0], message, theirs[:cut])
    expected = error(VIRTUAL[version][0], CLIENT[version][0], message, ours[:cut], ttl=63)
    assert about_request(opened(version), data) == expected


@BOTH
@pytest.mark.parametrize("quoted", [8, 12, 18, 20, 25])
def test_an_error_about_a_reply_quotes_what_the_server_sent(version: int, quoted: int) -> None:
    numbers = {"seq": SERVER_ISN + 1, "flags": "PA"}
    theirs = segment(CLIENT, VIRTUAL, version, ack=CLIENT_ISN + 1, **numbers)
    ours = segment(LOCAL, REAL, version, ack=ISN + 1 & MASK, **numbers)
    cut = {4: 20, 6: 40}[version] + quoted
    if quoted < 12:
        ours = ours[: cut - quoted + 8] + theirs[cut - quoted + 8 :]
    message = expired(version)
    data = error(ROUTER[version], VIRTUAL[version][0], message, theirs[:cut])
    expected = error(LOCAL[version][0], REAL[version][0], message, ours[:cut], ttl=63)
    assert about_reply(opened(version), data) == expected


@BOTH
@pytest.mark.parametrize(
    ("protocol", "way", "added"),
    [
        (TCP_NUMBER, "toa", (8, 20)),
        (TCP_NUMBER, "proxy-v2", (0, 0)),
        (TCP_NUMBER, "none", (0, 0)),
        (UDP_NUMBER, "toa", (8, 0)),
        (UDP_NUMBER, "proxy-v2", (28, 52)),
        (UDP_NUMBER, "none", (0, 0)),
    ],
)
def test_the_mtu_that_the_client_hears_leaves_room_for_what_is_added(
    version: int, protocol: int, way: Any, added: tuple[int, int]
) -> None:
    transport = TCP() if protocol == TCP_NUMBER else UDP()
    quote = write(LOCAL[version], REAL[version], transport, bytes(99))
    connection = translation(version, protocol, way)
    data = error(ROUTER[version], LOCAL[version][0], too_big(version, 1400), quote)
    assert mtu_of(about_request(connection, data)) == 1400 - added[version == 6]
    reply = write(CLIENT[version], VIRTUAL[version], transport, bytes(99))
    data = error(ROUTER[version], VIRTUAL[version][0], too_big(version, 1400), _back(reply))
    assert mtu_of(about_reply(connection, data)) == 1400


@BOTH
def test_no_mtu_is_told_that_no_way_can_have(version: int) -> None:
    quote = write(LOCAL[version], REAL[version], UDP(), bytes(99))
    least = {4: 68, 6: 1280}[version]
    data = error(ROUTER[version], LOCAL[version][0], too_big(version, least + 5), quote)
    assert mtu_of(about_request(translation(version, UDP_NUMBER, "proxy-v2"), data)) == least


def test_an_mtu_that_is_not_told_stays_untold() -> None:
    quote = write(LOCAL[4], REAL[4], UDP(), bytes(99))
    data = error(ROUTER[4], LOCAL[4][0], too_big(4, 0), quote)
    assert mtu_of(about_request(translation(4, UDP_NUMBER), data)) == 0


@pytest.mark.parametrize(("offset", "client"), [(0, 0), (1, 1), (20, 1), (29, 1), (30, 2)])
def test_a_quoted_number_of_the_proxy_header_becomes_that_of_the_first_data(
    offset: int, client: int
) -> None:
    quote = segment(REAL, LOCAL, 4, seq=ISN + offset & MASK)
    data = error(ROUTER[4], LOCAL[4][0], expired(4), quote)
    out = about_request(opened(4, "proxy-v2"), data)
    assert load(out[28:]).data[24:28] == (CLIENT_ISN + client).to_bytes(4, "big")


FIRST: Any = {"seq": CLIENT_ISN + 1, "ack": SERVER_ISN + 1}
IP_BYTES = {4: 20, 6: 40}
INSERTED = {
    (TCP_NUMBER, "toa"): {4: 8, 6: 20},
    (UDP_NUMBER, "toa"): {4: 8, 6: 0},
    (UDP_NUMBER, "proxy-v2"): {4: 28, 6: 52},
}


def told(version: int, protocol: int, way: Any, **ip: Any) -> tuple[Translation, bytes, bytes]:
    """Return a connection, a packet of its client's with the TTL it has behind us, and ours."""
    transport: Any = UDP()
    connection = translation(version, protocol, way)
    if protocol == TCP_NUMBER:
        transport = TCP(flags="PA", options=[("SAckOK", b""), ("NOP", None)], **FIRST)
        connection = opened(version, way)
    sent = write(CLIENT[version], VIRTUAL[version], transport, bytes(range(99)), **ip)
    gone = write(CLIENT[version], VIRTUAL[version], transport, bytes(range(99)), ttl=63, **ip)
    return connection, gone, connection.request(load(sent), 1500)[-1]


@BOTH
@pytest.mark.parametrize(("protocol", "way"), INSERTED)
def test_a_quote_is_without_what_was_put_into_it_however_much_is_quoted(
    version: int, protocol: int, way: Any
) -> None:
    size = INSERTED[protocol, way][version]
    connection, sent, theirs = told(version, protocol, way)
    # Less of TCP shows no option; without PROXY no datagram is, so that needs not be seen.
    least = {TCP_NUMBER: 21, UDP_NUMBER: 8}[protocol]
    at = IP_BYTES[version] + {TCP_NUMBER: 20, UDP_NUMBER: 8}[protocol]
    if (protocol, way, version) == (UDP_NUMBER, "toa", 4):
        at, least = 20, 16
    for quoted in range(IP_BYTES[version] + least, len(theirs) + 1):
        kept = min(quoted, max(at, quoted - size))
        message = expired(version)
        data = error(ROUTER[version], LOCAL[version][0], message, theirs[:quoted])
        ours = error(VIRTUAL[version][0], CLIENT[version][0], message, sent[:kept], 63)
        assert about_request(connection, data) == ours


@BOTH
def test_a_quoted_proxy_header_of_tcp_leaves_a_segment_without_data(version: int) -> None:
    connection = opened(version, "proxy-v2")
    ack = write(CLIENT[version], VIRTUAL[version], TCP(flags="A", **FIRST))
    (lead,) = connection.request(load(ack), 1500)
    sent = write(CLIENT[version], VIRTUAL[version], TCP(flags="PA", **FIRST), ttl=63)
    for quoted in range(IP_BYTES[version] + 21, len(lead) + 1):
        data = error(ROUTER[version], LOCAL[version][0], expired(version), lead[:quoted])
        ours = error(VIRTUAL[version][0], CLIENT[version][0], expired(version), sent, 63)
        assert about_request(connection, data) == ours


@BOTH
@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
def test_what_only_looks_like_an_insertion_stays(version: int, way: Any) -> None:
    theirs = write(LOCAL[version], REAL[version], UDP(), b"\x99" * 60)
    ours = write(CLIENT[version], VIRTUAL[version], UDP(), b"\x99" * 60)
    data = error(ROUTER[version], LOCAL[version][0], expired(version), theirs)
    expected = error(VIRTUAL[version][0], CLIENT[version][0], expired(version), ours, 63)
    assert about_request(translation(version, UDP_NUMBER, way), data) == expected


@BOTH
@pytest.mark.parametrize(("protocol", "way"), INSERTED)
def test_extensions_of_an_error_stay_where_they_are(version: int, protocol: int, way: Any) -> None:
    size = INSERTED[protocol, way][version]
    connection, sent, theirs = told(version, protocol, way)
    room = len(theirs) + 8 & ~7
    unit, extension = {4: 4, 6: 8}[version], b"\x20\0\xdf\xff"
    message = expired(version)
    message.length = room // unit
    data = error(ROUTER[version], LOCAL[version][0], message, theirs.ljust(room, b"\0") + extension)
    out = about_request(connection, data)
    quote = out[IP_BYTES[version] + 8 :]
    assert quote == sent.ljust(room, b"\0") + extension
    assert len(out) == len(data)
    assert icmp.embedded(load(out), Packet()) is None
    assert size == len(theirs) - len(sent)


def segment(
    real: dict[int, Endpoint], local: dict[int, Endpoint], version: int, **fields: Any
) -> bytes:
    """Return a segment with some payload to the first of two ends."""
    return write(local[version], real[version], TCP(**fields), bytes(range(99)))


def mtu_of(data: bytes) -> int:
    packet = dissect(data)
    assert icmp.embedded(load(data), Packet()) is None
    return int(packet[ICMP].nexthopmtu if packet.version == 4 else packet[ICMPv6PacketTooBig].mtu)


def _back(data: bytes) -> bytes:
    """Return a packet with its ends exchanged; the checksums stay right."""
    packet = dissect(data)
    packet.src, packet.dst = packet.dst, packet.src
    layer = packet[TCP] if TCP in packet else packet[UDP]
    layer.sport, layer.dport = layer.dport, layer.sport
    return bytes(packet)
