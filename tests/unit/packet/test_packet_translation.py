"""FULLNAT's TCP: numbers, TOA, the PROXY header, what a client must not send."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP, IPOption_NOP

from forwarders.base import Ends
from forwarders.fullnat import Fullnat
from forwarders.nat import Nat
from forwarders.plan import Deliver, InsertToa, Plan, SetSource
from lvsd.packet.address import pack
from lvsd.packet.client_address import ClientAddressCounts, toa
from lvsd.packet.numbering import MASK
from lvsd.packet.translator import Translator
from lvsd.packet.view import key
from tests.unit.packet.told import read_proxy_header, read_toa
from tests.unit.packet.translations import (
    CLIENT,
    ISN,
    LOCAL,
    MTU,
    REAL,
    TCP_NUMBER,
    VIRTUAL,
    Side,
    dissect,
    intact,
    load,
    translation,
    write,
)

BOTH = pytest.mark.parametrize("version", [4, 6])
TOA_BYTES = {4: 8, 6: 20}
PROXY_BYTES = {4: 28, 6: 52}
CLIENT_ISN, SERVER_ISN = 1000, 5000
FIRST: Any = {"seq": CLIENT_ISN + 1, "ack": SERVER_ISN + 1}
DATA = ISN + 1 & MASK


def told(packet: Any) -> Any:
    return read_toa(load(bytes(packet)), 254)


@BOTH
def test_both_ends_are_exchanged_and_the_ttl_is_one_less(version: int) -> None:
    side = Side(version)
    (request,) = side.request(flags="S", seq=CLIENT_ISN)
    reply = side.reply(flags="SA", seq=SERVER_ISN, ack=DATA)
    assert load(bytes(request)).key[1:] == _key(LOCAL, REAL, version)
    assert load(bytes(reply)).key[1:] == _key(VIRTUAL, CLIENT, version)
    assert (load(bytes(request)).ttl, load(bytes(reply)).ttl) == (63, 63)


@BOTH
def test_the_syn_gets_the_given_number_and_replies_the_clients_own(version: int) -> None:
    side = Side(version)
    (syn,) = side.request(flags="S", seq=CLIENT_ISN)
    assert syn[TCP].seq == ISN
    assert side.reply(flags="SA", seq=SERVER_ISN, ack=DATA)[TCP].ack == CLIENT_ISN + 1
    (again,) = side.request(flags="S", seq=CLIENT_ISN)
    assert again[TCP].seq == ISN


def test_a_connection_whose_syn_was_not_seen_keeps_its_numbers_and_tells_nothing() -> None:
    for way in ("toa", "proxy-v2"):
        side = Side(4, way)
        (request,) = side.request(flags="PA", payload=b"abc", **FIRST)
        assert (request[TCP].seq, bytes(request[TCP].payload)) == (CLIENT_ISN + 1, b"abc")
        assert side.reply(flags="A", seq=SERVER_ISN + 1, ack=CLIENT_ISN + 4)[TCP].ack == 1004
        assert side.counts.told == 0


def test_a_second_syn_with_other_numbers_counts_until_the_server_answers() -> None:
    side = Side(4)
    side.request(flags="S", seq=CLIENT_ISN)
    (other,) = side.request(flags="S", seq=77)
    assert other[TCP].seq == ISN
    assert side.reply(flags="SA", seq=SERVER_ISN, ack=DATA)[TCP].ack == 78
    (stray,) = side.request(flags="S", seq=CLIENT_ISN)
    assert stray[TCP].seq == ISN + CLIENT_ISN - 77 & MASK


@BOTH
def test_the_timestamp_option_of_both_syns_becomes_nops(version: int) -> None:
    side = Side(version)
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("WScale", 7)]
    nops = [("NOP", None)] * 10
    (syn,) = side.request(flags="S", seq=CLIENT_ISN, options=options)
    reply = side.reply(flags="SA", seq=SERVER_ISN, ack=DATA, options=options)
    assert syn[TCP].options[:12] == [*options[:2], *nops]
    assert reply[TCP].options[1:12] == [options[1], *nops]


@BOTH
def test_the_mss_of_the_servers_syn_is_lowered_by_toa(version: int) -> None:
    side = Side(version)
    options = [("NOP", None), ("MSS", 1460)]
    (syn,) = side.request(flags="S", seq=CLIENT_ISN, options=options)
    reply = side.reply(flags="SA", seq=SERVER_ISN, ack=DATA, options=options)
    assert ("MSS", 1460) in syn[TCP].options
    assert ("MSS", 1460 - TOA_BYTES[version]) in reply[TCP].options
    assert Side(version, "none").reply(flags="SA", options=options)[TCP].options[1] == options[1]


@BOTH
def test_toa_stands_right_behind_the_header_of_the_handshakes_last_ack(version: int) -> None:
    side = Side(version)
    (syn,) = side.request(flags="S", seq=CLIENT_ISN)
    side.reply(flags="SA", seq=SERVER_ISN, ack=DATA)
    others = [("SAckOK", b""), ("NOP", None), ("NOP", None)]
    (ack,) = side.request(flags="A", options=others, **FIRST)
    packet = load(bytes(ack))
    assert packet.data[packet.l4 + 20 :][: TOA_BYTES[version]] == toa(*CLIENT[version], 254)
    assert ack[TCP].options[1:] == others
    assert told(syn) is None
    assert side.counts.told == 1


@BOTH
def test_toa_goes_on_until_data_of_the_server_is_acknowledged(version: int) -> None:
    side = Side(version)
    side.open()
    for flags in ("A", "PA", "FA"):
        (request,) = side.request(flags=flags, payload=b"x", **FIRST)
        assert told(request) == CLIENT[version]
    for flags in ("R", "RA"):
        (request,) = side.request(flags=flags, **FIRST)
        assert told(request) is None
    side.reply(payload=b"hello", flags="PA", seq=SERVER_ISN + 1, ack=DATA)
    (request,) = side.request(flags="A", **FIRST)
    assert told(request) == CLIENT[version]
    for _ in range(2):
        (request,) = side.request(flags="A", seq=CLIENT_ISN + 2, ack=SERVER_ISN + 6)
        assert told(request) is None


def test_a_client_cannot_hide_by_acknowledging_what_the_server_did_not_send() -> None:
    side = Side(4)
    side.open()
    side.request(flags="A", seq=CLIENT_ISN + 1, ack=SERVER_ISN + 9)
    (request,) = side.request(flags="A", **FIRST)
    assert told(request) == CLIENT[4]


@BOTH
@pytest.mark.parametrize("kind", [253, 254, 200])
def test_a_clients_own_toa_is_taken_out_of_every_packet(version: int, kind: int) -> None:
    side = Side(version, kind=200)
    forged = (kind, b"\x12\x34\x01\x02\x03\x04")
    for packet in (
        side.request(flags="S", seq=CLIENT_ISN, options=[forged]),
        side.request(flags="A", seq=CLIENT_ISN + 1, ack=9, options=[forged]),
        side.request(flags="R", seq=CLIENT_ISN + 1, options=[forged]),
    ):
        assert packet[0][TCP].options == [("NOP", None)] * 8
    assert side.counts.forged == 3


@pytest.mark.parametrize("way", ["none", "proxy-v2"])
def test_forgeries_go_also_where_no_toa_is_told(way: Any) -> None:
    side = Side(4, way)
    (syn,) = side.request(flags="S", seq=1, options=[(254, b"\x12\x34\x01\x02\x03\x04")])
    assert syn[TCP].options == [("NOP", None)] * 8


def test_a_forged_toa_beside_ours_is_taken_out() -> None:
    side = Side(4)
    side.open()
    (ack,) = side.request(flags="A", options=[(254, b"\x12\x34\x01\x02\x03\x04")], **FIRST)
    assert ack[TCP].options == [(254, toa(*CLIENT[4], 254)[2:]), *[("NOP", None)] * 8]


@BOTH
def test_what_an_open_connection_does_not_need_makes_room_for_toa(version: int) -> None:
    side = Side(version)
    side.open()
    sack = ("SAck", (SERVER_ISN + 10, SERVER_ISN + 20))
    padding = [("NOP", None)] * 18 + [("MSS", 9), ("WScale", 3)]
    (ack,) = side.request(flags="A", options=[*padding, sack], **FIRST)
    assert told(ack) == CLIENT[version]
    assert ack[TCP].options[1:] == [("NOP", None), ("NOP", None), sack]


@BOTH
def test_without_room_among_the_options_toa_is_left_out_and_counted(version: int) -> None:
    side = Side(version)
    side.open()
    edges = tuple(range(SERVER_ISN + 10, SERVER_ISN + 70, 10))
    options = [("NOP", None)] * 4 + [("Timestamp", (1, 2)), ("SAck", edges)]
    (ack,) = side.request(flags="A", options=options, **FIRST)
    assert ack[TCP].options == options
    assert (side.counts.told, side.counts.no_room) == (0, 1)


@BOTH
def test_a_packet_that_toa_would_make_too_long_goes_without(version: int) -> None:
    side = Side(version)
    side.open()
    header = {4: 40, 6: 60}[version] + TOA_BYTES[version]
    (fits,) = side.request(payload=bytes(MTU - header), flags="A", **FIRST)
    (too_long,) = side.request(payload=bytes(MTU - header + 1), flags="A", **FIRST)
    assert (told(fits), told(too_long)) == (CLIENT[version], None)
    assert len(fits) == MTU
    assert (side.counts.told, side.counts.no_room) == (1, 1)


@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
@pytest.mark.parametrize("payload", [b"", b"early data"])
def test_a_syn_with_ip_options_gets_the_same_header(way: Any, payload: bytes) -> None:
    cookie = ("TFO", (0x01020304, 0x05060708))
    options = [("MSS", 1460), ("Timestamp", (1, 2)), (254, b"\x12\x34abcd"), cookie]
    syn = TCP(flags="S", seq=CLIENT_ISN, options=options)
    segments = []
    for ip in ({}, {"options": [IPOption_NOP()] * 4}):
        data = write(CLIENT[4], VIRTUAL[4], syn, payload, **ip)
        (out,) = translation(4, TCP_NUMBER, way).request(load(data), MTU)
        assert intact(out)
        segments.append(out[load(out).l4 :])
    assert segments[0] == segments[1]


def test_fast_open_is_refused_to_a_client_whose_address_is_told() -> None:
    cookie = ("TFO", (0x01020304, 0x05060708))
    (syn,) = Side(4).request(flags="S", options=[cookie], payload=b"early")
    assert syn[TCP].options == [("NOP", None)] * 10 + [("EOL", None)]
    assert bytes(syn[TCP].payload) == b""
    (syn,) = Side(4, "none").request(flags="S", options=[cookie], payload=b"early")
    assert syn[TCP].options[0] == cookie
    assert bytes(syn[TCP].payload) == b"early"


@BOTH
def test_a_proxy_header_takes_the_place_of_the_handshakes_last_ack(version: int) -> None:
    side = Side(version, "proxy-v2")
    side.open()
    (header,) = side.request(flags="A", **FIRST)
    assert (header[TCP].seq, header[TCP].ack) == (DATA, SERVER_ISN + 1)
    parsed = read_proxy_header(bytes(header[TCP].payload))
    assert parsed == (TCP_NUMBER, CLIENT[version], VIRTUAL[version], PROXY_BYTES[version])
    assert header[TCP].flags == "PA"


@BOTH
def test_a_proxy_header_goes_ahead_of_first_data_until_acknowledged(version: int) -> None:
    side = Side(version, "proxy-v2")
    side.open()
    behind = DATA + PROXY_BYTES[version] & MASK
    for flags, payload in (("PA", b"GET"), ("FA", b""), ("PA", b"GET")):
        header, data = side.request(flags=flags, payload=payload, **FIRST)
        assert (header[TCP].seq, data[TCP].seq) == (DATA, behind)
        assert (data[TCP].flags, bytes(data[TCP].payload)) == (flags, payload)
        assert header[TCP].flags == "PA"
    (later,) = side.request(flags="PA", seq=CLIENT_ISN + 4, ack=SERVER_ISN + 1, payload=b" /")
    assert later[TCP].seq == behind + 3
    half = DATA + 10 & MASK
    assert side.reply(flags="A", seq=SERVER_ISN + 1, ack=half)[TCP].ack == CLIENT_ISN + 1
    assert len(side.request(flags="PA", payload=b"GET", **FIRST)) == 2
    assert side.reply(flags="A", seq=SERVER_ISN + 1, ack=behind)[TCP].ack == CLIENT_ISN + 1
    (data,) = side.request(flags="PA", payload=b"GET", **FIRST)
    assert data[TCP].seq == behind
    acked = side.reply(flags="A", seq=SERVER_ISN + 1, ack=behind + 5 & MASK)
    assert acked[TCP].ack == CLIENT_ISN + 6
    assert side.counts.told == 4


def test_a_client_cannot_write_where_the_proxy_header_goes() -> None:
    side = Side(4, "proxy-v2")
    (syn,) = side.request(flags="S", seq=CLIENT_ISN, payload=b"PROXY forged")
    assert bytes(syn[TCP].payload) == b""
    side.reply(flags="SA", seq=SERVER_ISN, ack=DATA)
    for before in (0, 1, 5, 27, 28, 1000):
        early = {"seq": CLIENT_ISN - before & MASK, "ack": SERVER_ISN + 1}
        (request,) = side.request(flags="PA", payload=bytes(2000), **early)
        assert bytes(request[TCP].payload) == b""


def test_a_keepalive_before_any_data_is_answered_with_what_the_server_has() -> None:
    side = Side(4, "proxy-v2")
    side.open()
    side.request(flags="A", **FIRST)
    side.reply(flags="A", seq=SERVER_ISN + 1, ack=DATA + 28 & MASK)
    (probe,) = side.request(flags="A", seq=CLIENT_ISN, ack=SERVER_ISN + 1)
    assert probe[TCP].seq == DATA + 27 & MASK


def test_a_rst_in_answer_to_the_syn_ack_has_the_number_that_the_server_expects() -> None:
    side = Side(4, "proxy-v2")
    side.open()
    (rst,) = side.request(flags="R", seq=CLIENT_ISN + 1)
    assert rst[TCP].seq == DATA
    side.request(flags="A", **FIRST)
    (rst,) = side.request(flags="R", seq=CLIENT_ISN + 1)
    assert rst[TCP].seq == DATA + 28 & MASK


@pytest.mark.parametrize("way", ["toa", "proxy-v2"])
def test_sack_blocks_of_replies_are_moved_back(way: Any) -> None:
    side = Side(4, way)
    side.open()
    ahead = 28 if way == "proxy-v2" else 0
    start = DATA + ahead
    edges = [start + edge & MASK for edge in (100, 200, 300, 400)]
    options = [("NOP", None), ("NOP", None), ("SAck", tuple(edges))]
    reply = side.reply(flags="A", seq=SERVER_ISN + 1, ack=start & MASK, options=options)
    moved = tuple(CLIENT_ISN + 1 + edge for edge in (100, 200, 300, 400))
    assert reply[TCP].options[-1] == ("SAck", moved)


def test_a_sack_block_of_the_proxy_header_alone_is_left_out() -> None:
    side = Side(4, "proxy-v2")
    side.open()
    edges = [DATA + edge & MASK for edge in (0, 28, 128, 228)]
    options = [("NOP", None), ("NOP", None), ("SAck", tuple(edges))]
    ack = DATA + 28 & MASK
    reply = side.reply(flags="A", seq=SERVER_ISN + 1, ack=ack, options=options)
    sack = ("SAck", (CLIENT_ISN + 101, CLIENT_ISN + 201))
    assert reply[TCP].options == [("NOP", None), ("NOP", None), sack, *[("NOP", None)] * 8]


def test_more_than_four_gigabytes_pass_behind_a_proxy_header() -> None:
    side = Side(4, "proxy-v2", isn=0)
    side.open(CLIENT_ISN, SERVER_ISN, 0)
    side.request(flags="A", **FIRST)
    for sent in range(0, 5 << 30, 1 << 29):
        reply = side.reply(flags="A", seq=SERVER_ISN + 1, ack=1 + 28 + sent & MASK)
        assert reply[TCP].ack == CLIENT_ISN + 1 + sent & MASK
        numbers: Any = {"seq": CLIENT_ISN + 1 + sent & MASK, "ack": SERVER_ISN + 1}
        (request,) = side.request(flags="A", **numbers)
        assert request[TCP].seq == 1 + 28 + sent & MASK


@BOTH
@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
def test_resets_have_the_numbers_that_each_side_acknowledged_last(version: int, way: Any) -> None:
    side = Side(version, way)
    assert side.translation.resets() is None
    side.open()
    assert side.translation.resets() is None
    side.request(flags="A", seq=CLIENT_ISN + 1, ack=SERVER_ISN + 50)
    side.request(flags="A", seq=CLIENT_ISN + 1, ack=SERVER_ISN + 40)
    side.reply(flags="A", seq=SERVER_ISN + 50, ack=DATA + 70 & MASK)
    resets = side.translation.resets()
    assert resets is not None
    to_client, to_server = resets
    assert load(to_client).key[1:] == _key(VIRTUAL, CLIENT, version)
    assert load(to_server).key[1:] == _key(LOCAL, REAL, version)
    assert dissect(to_client)[TCP].seq == SERVER_ISN + 50
    assert dissect(to_server)[TCP].seq == DATA + 70 & MASK
    for data in resets:
        assert dissect(data)[TCP].flags == "R"
        again = dissect(data)
        again[TCP].chksum = None
        if version == 4:
            again.chksum = None
        assert bytes(again) == data


def test_the_number_that_the_server_expects_is_the_one_that_it_acknowledged() -> None:
    side = Side(4, "proxy-v2")
    expected = [side.translation.server_acked]
    side.open()
    expected.append(side.translation.server_acked)
    side.request(flags="PA", payload=b"abc", **FIRST)
    side.request(flags="A", seq=CLIENT_ISN + 2**30, ack=SERVER_ISN + 1)
    expected.append(side.translation.server_acked)
    side.reply(flags="A", seq=SERVER_ISN + 1, ack=DATA + 28 + 3 & MASK)
    side.reply(flags="A", seq=SERVER_ISN + 1, ack=DATA + 28 & MASK)
    side.reply(flags="RA", seq=SERVER_ISN + 1, ack=DATA + 28 + 9 & MASK)
    expected.append(side.translation.server_acked)
    assert expected == [None, DATA, DATA, DATA + 28 + 3 & MASK]
    assert translation(4, 17).server_acked is None


@BOTH
@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
def test_a_wrong_checksum_stays_wrong(version: int, way: Any) -> None:
    connection = translation(version, TCP_NUMBER, way)
    syn = write(CLIENT[version], VIRTUAL[version], TCP(flags="S", seq=CLIENT_ISN))
    connection.request(load(syn), MTU)
    synack = TCP(flags="SA", seq=SERVER_ISN, ack=DATA, chksum=1)
    replies = [connection.reply(load(write(REAL[version], LOCAL[version], synack)))]
    data = write(CLIENT[version], VIRTUAL[version], TCP(flags="PA", chksum=1, **FIRST), b"x")
    requests = connection.request(load(data), MTU)
    for out in requests + replies:
        was = dissect(out)[TCP].chksum
        again = dissect(out)
        del again[TCP].chksum
        assert dissect(bytes(again))[TCP].chksum != was


def test_padding_behind_the_ip_length_goes() -> None:
    connection = translation(4, TCP_NUMBER, "toa")
    syn = write(CLIENT[4], VIRTUAL[4], TCP(flags="S")) + b"\xa5" * 6
    (out,) = connection.request(load(syn), MTU)
    assert len(out) == 40


def test_a_ttl_of_zero_is_left_alone() -> None:
    for version in (4, 6):
        for flags in ("S", "A"):
            data = write(CLIENT[version], VIRTUAL[version], TCP(flags=flags), ttl=0)
            (out,) = translation(version, TCP_NUMBER, "none").request(load(data), MTU)
            assert load(out).ttl == 0


@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_one_connections_plan_is_good_for_all_that_differ_in_their_ends(
    way: Any, protocol: int
) -> None:
    other = (pack("198.51.100.99"), 4711), (pack("192.0.2.10"), 81)
    theirs = (pack("10.0.0.3"), 2222), (pack("10.1.0.11"), 81)
    keys = key(protocol, *other[0], *other[1]), key(protocol, *theirs[1], *theirs[0])
    transport = TCP(flags="S", seq=7) if protocol == TCP_NUMBER else UDP()
    asked = load(write(*other, transport, b"abc"))
    answered = load(write(theirs[1], theirs[0], transport, b"abcd"))
    own = Ends(*other[1], *theirs[1], local=theirs[0], client=other[0])
    shared = Ends(*VIRTUAL[4], *REAL[4], local=LOCAL[4], client=CLIENT[4])
    outcomes = []
    for ends in (own, shared):
        plan = Fullnat(way).plan(ends)
        made = Translator(plan, protocol, ClientAddressCounts()).translation(*keys, ISN)
        outcomes.append((made.request(asked, MTU), made.reply(answered)))
    assert outcomes[0] == outcomes[1]


def test_only_fullnats_plans_for_tcp_and_udp_are_taken() -> None:
    fullnat, counts = _plan(), ClientAddressCounts()
    with pytest.raises(ValueError, match="not protocol 132"):
        Translator(fullnat, 132, counts)
    with pytest.raises(ValueError, match="both ends"):
        Translator(Nat().plan(Ends(*VIRTUAL[4], *REAL[4])), 6, counts)
    with pytest.raises(TypeError, match=r"Deliver\(\)"):
        Translator(Plan((*fullnat.request, Deliver()), fullnat.reply), 6, counts)
    with pytest.raises(ValueError, match="renumbers"):
        Translator(Plan(fullnat.request[:2], fullnat.reply), 6, counts)
    with pytest.raises(ValueError, match="all IPv4 or all IPv6"):
        Translator(
            Plan((SetSource(pack("::1"), 1), *fullnat.request[1:]), fullnat.reply), 17, counts
        )
    with pytest.raises(ValueError, match="another client"):
        Translator(
            Plan((*fullnat.request[:3], InsertToa(pack("::1"), 1)), fullnat.reply), 6, counts
        )


def _plan() -> Plan:
    ends = Ends(*VIRTUAL[4], *REAL[4], local=LOCAL[4], client=CLIENT[4])
    return Fullnat().plan(ends)


def _key(source: Any, destination: Any, version: int) -> bytes:
    (address, port), (address2, port2) = source[version], destination[version]
    return address + address2 + port.to_bytes(2, "big") + port2.to_bytes(2, "big")  # type: ignore[no-any-return]
