"""FULLNAT's UDP: UOA in the first datagrams, a PROXY header in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.packet import Raw

from lvsd.packet.client_address import (
    OPTION_PROTOCOL,
    ClientAddressCounts,
    option_protocol,
    uoa,
)
from tests.unit.packet.told import read_proxy_header, read_uoa
from tests.unit.packet.translations import (
    CLIENT,
    LOCAL,
    MTU,
    REAL,
    TCP_NUMBER,
    UDP_NUMBER,
    VIRTUAL,
    dissect,
    intact,
    load,
    translation,
    write,
)

if TYPE_CHECKING:
    from forwarders.fullnat import ClientAddress

BOTH = pytest.mark.parametrize("version", [4, 6])


class Datagrams:
    """A UDP connection that both ends' datagrams go through."""

    def __init__(self, version: int, way: ClientAddress = "toa") -> None:
        self.version = version
        self.counts = ClientAddressCounts()
        self.translation = translation(version, UDP_NUMBER, way, counts=self.counts)

    def request(self, payload: bytes, mtu: int = MTU, **ip: Any) -> list[bytes]:
        """Return what the server gets."""
        data = write(CLIENT[self.version], VIRTUAL[self.version], UDP(), payload, **ip)
        return self.translation.request(load(data), mtu)


@BOTH
@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
def test_a_reply_only_gets_new_ends(version: int, way: Any) -> None:
    connection = translation(version, UDP_NUMBER, way)
    data = write(REAL[version], LOCAL[version], UDP(), b"answer!")
    expected = write(VIRTUAL[version], CLIENT[version], UDP(), b"answer!", ttl=63)
    assert connection.reply(load(data)) == expected


def test_uoa_is_an_ip_option_of_the_first_three_datagrams_over_ipv4() -> None:
    side = Datagrams(4)
    told = [IPOption(uoa(*CLIENT[4]))]
    for options in (told, told, told, []):
        expected = write(LOCAL[4], REAL[4], UDP(), b"abc", ttl=63, options=options)
        assert side.request(b"abc") == [expected]
    assert (side.counts.told, side.counts.no_room) == (3, 0)


def test_uoa_stands_before_the_clients_own_ip_options() -> None:
    own = IPOption(b"\x9e\x04ab")
    (out,) = Datagrams(4).request(b"abc", options=[own])
    options = [IPOption(uoa(*CLIENT[4])), own]
    assert out == write(LOCAL[4], REAL[4], UDP(), b"abc", ttl=63, options=options)


def test_a_clients_own_uoa_is_taken_out_of_every_datagram() -> None:
    side = Datagrams(4)
    forged = [IPOption(b"\x1f\x08\x12\x34\x01\x02\x03\x04")]
    for _ in range(3):
        (out,) = side.request(b"abc", options=forged)
        assert read_uoa(load(out)) == CLIENT[4]
    nops = [IPOption(b"\x01")] * 8
    (out,) = side.request(b"abc", options=forged)
    assert out == write(LOCAL[4], REAL[4], UDP(), b"abc", ttl=63, options=nops)
    assert side.counts.forged == 4


def test_a_datagram_without_room_for_uoa_goes_without_and_the_next_tells() -> None:
    side = Datagrams(4)
    (full,) = side.request(b"x", options=[IPOption(bytes((0x9E, 40)) + bytes(38))])
    (too_long,) = side.request(bytes(MTU - 28 - 7))
    (fits,) = side.request(bytes(MTU - 28 - 8))
    assert [read_uoa(load(out)) for out in (full, too_long, fits)] == [None, None, CLIENT[4]]
    assert len(fits) == MTU
    assert (side.counts.told, side.counts.no_room) == (1, 2)


def test_uoa_goes_ahead_of_the_first_three_datagrams_over_ipv6() -> None:
    side = Datagrams(6)
    as_it_is = write(LOCAL[6], REAL[6], UDP(), b"abc", ttl=63)
    for _ in range(3):
        ahead, datagram = side.request(b"abc")
        assert datagram == as_it_is
        packet = dissect(ahead)
        assert (packet.nh, packet.hlim, packet.plen) == (OPTION_PROTOCOL, 63, 32)
        assert read_uoa(load(ahead)) == CLIENT[6]
        empty = UDP(sport=LOCAL[6][1], dport=REAL[6][1], chksum=0)
        assert bytes(packet.payload) == option_protocol(*CLIENT[6]) + bytes(empty)
        assert load(ahead).key[1:-4] == LOCAL[6][0] + REAL[6][0]
    assert side.request(b"abc") == [as_it_is]
    assert side.counts.told == 3


@BOTH
@pytest.mark.parametrize("size", [0, 1, 100, 101])
def test_a_proxy_header_stands_in_front_of_every_datagrams_payload(version: int, size: int) -> None:
    side = Datagrams(version, "proxy-v2")
    payload = bytes(range(size))
    for _ in range(5):
        (out,) = side.request(payload)
        assert intact(out)
        datagram = dissect(out)[UDP]
        parsed = read_proxy_header(bytes(datagram.payload))
        assert parsed is not None
        assert parsed[:3] == (UDP_NUMBER, CLIENT[version], VIRTUAL[version])
        assert bytes(datagram.payload)[parsed.length :] == payload
    assert side.counts.told == 5


@BOTH
def test_a_datagram_that_is_too_long_with_its_proxy_header_keeps_it(version: int) -> None:
    side = Datagrams(version, "proxy-v2")
    (out,) = side.request(bytes(1400), 1200)
    assert len(out) == 1400 + {4: 28 + 28, 6: 48 + 52}[version]


@BOTH
def test_a_datagram_that_no_packet_can_hold_with_its_proxy_header_is_counted(version: int) -> None:
    side = Datagrams(version, "proxy-v2")
    most = 65535 - {4: 28 + 28, 6: 8 + 52}[version]
    assert len(side.request(bytes(most))) == 1
    assert side.request(bytes(most + 1)) == []
    assert (side.counts.told, side.counts.no_room) == (1, 1)


@BOTH
@pytest.mark.parametrize("way", ["toa", "proxy-v2", "none"])
def test_no_checksum_stays_none_and_a_wrong_one_wrong(version: int, way: Any) -> None:
    for checksum in (0, 1):
        connection = translation(version, UDP_NUMBER, way)
        data = write(CLIENT[version], VIRTUAL[version], UDP(chksum=checksum), b"abc")
        out = connection.request(load(data), MTU)[-1]
        found = dissect(out)[UDP].chksum
        again = dissect(out)
        del again[UDP].chksum
        right = dissect(bytes(again))[UDP].chksum
        assert found == 0 if checksum == 0 else found != right


def test_bytes_behind_the_datagram_stay_behind_it() -> None:
    side = Datagrams(4, "proxy-v2")
    data = bytearray(write(CLIENT[4], VIRTUAL[4], UDP(len=11, chksum=0), b"abc+trailer"))
    (out,) = side.translation.request(load(bytes(data)), MTU)
    assert dissect(out)[UDP].len == 11 + 28
    assert out.endswith(b"abc+trailer")


def test_extension_headers_stay_in_front() -> None:
    ends = {"src": "2001:db8::7", "dst": "2001:db8::10"}
    extension = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    udp = UDP(sport=CLIENT[6][1], dport=VIRTUAL[6][1])
    packet = bytes(IPv6(**ends) / extension / udp / Raw(b"abc"))
    side = Datagrams(6, "proxy-v2")
    (out,) = side.translation.request(load(packet), MTU)
    assert intact(out)
    assert dissect(out)[IPv6ExtHdrDestOpt].nh == UDP_NUMBER
    assert bytes(dissect(out)[UDP].payload).endswith(b"abc")


@pytest.mark.parametrize(("layer", "number"), [(TCP, TCP_NUMBER), (UDP, UDP_NUMBER)])
def test_of_fragments_only_the_ends_change(layer: Any, number: int) -> None:
    before = write(CLIENT[4], VIRTUAL[4], layer(chksum=1), bytes(100))
    after = write(LOCAL[4], REAL[4], layer(chksum=1), bytes(100), ttl=63)
    connection = translation(4, number, "toa")
    pieces = [load(bytes(part)) for part in fragment(IP(before), 48)]
    out = b"".join(connection.request(piece, MTU)[0][20:] for piece in pieces)
    checksum = slice(16, 18) if layer is TCP else slice(6, 8)
    assert out[: checksum.start] == after[20:][: checksum.start]
    assert out[checksum.stop :] == after[20:][checksum.stop :]
    assert all(connection.request(piece, MTU)[0][8] == 63 for piece in pieces)
