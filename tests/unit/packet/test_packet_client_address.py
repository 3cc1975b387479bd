"""TOA, UOA and PROXY v2: their bytes, and what is read in others."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, IPOption

from lvsd.packet.client_address import (
    OPTION_PROTOCOL,
    option_protocol,
    parse_toa,
    proxy_header,
    toa,
    uoa,
)
from lvsd.packet.numbers import UDP
from tests.unit.packet.told import read_proxy_header, read_toa, read_uoa
from tests.unit.packet.translations import CLIENT, TCP_NUMBER, UDP_NUMBER, VIRTUAL, load

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def test_toa_is_kind_length_port_address() -> None:
    assert toa(*CLIENT[4], 254) == bytes.fromhex("fe08 9c40 c6336407")
    assert toa(*CLIENT[6], 253) == bytes.fromhex("fd14 9c40 20010db8000000000000000000000007")


@pytest.mark.parametrize("version", [4, 6])
def test_toa_reads_as_it_was_written(version: int) -> None:
    option = toa(*CLIENT[version], 200)
    assert parse_toa(option, 200) == CLIENT[version]
    assert parse_toa(option, 254) is None
    assert [parse_toa(option[:length], 200) for length in range(len(option))] == [None] * len(
        option
    )


@pytest.mark.parametrize("length", [0, 1, 2, 4, 7, 9, 19, 21, 255])
def test_an_option_of_another_length_is_no_toa(length: int) -> None:
    assert parse_toa(bytes((254, length)) + bytes(253), 254) is None


def test_toa_is_found_among_other_options() -> None:
    told = (254, toa(*CLIENT[4], 254)[2:])
    packet = IP() / TCP(options=[("NOP", None), ("MSS", 1460), told, ("WScale", 7)])
    assert read_toa(load(bytes(packet)), 254) == CLIENT[4]
    assert read_toa(load(bytes(packet)), 253) is None
    assert read_toa(load(bytes(IP() / TCP())), 254) is None


def test_uoa_is_the_ip_option_31_of_dpvs() -> None:
    assert uoa(*CLIENT[4]) == bytes.fromhex("1f08 9c40 c6336407")


def test_the_option_protocol_says_version_next_protocol_and_length() -> None:
    assert option_protocol(*CLIENT[4])[:4] == bytes.fromhex("1011 000c")
    assert option_protocol(*CLIENT[6])[:4] == bytes.fromhex("2011 0018")
    assert option_protocol(*CLIENT[6])[4:8] == bytes.fromhex("1f14 9c40")


def test_uoa_is_found_among_ip_options() -> None:
    options = [IPOption(b"\x01"), IPOption(uoa(*CLIENT[4]))]
    packet = load(bytes(IP(proto=UDP, options=options) / bytes.fromhex("0035003500080000")))
    assert read_uoa(packet) == CLIENT[4]
    assert read_uoa(load(bytes(IP(proto=UDP) / bytes.fromhex("0035003500080000")))) is None


@pytest.mark.parametrize("version", [4, 6])
def test_uoa_is_found_in_the_option_protocol(version: int) -> None:
    header = option_protocol(*CLIENT[version])
    for cut in range(len(header)):
        assert read_uoa(load(bytes(IP(proto=OPTION_PROTOCOL) / header[:cut]))) is None
    assert read_uoa(load(bytes(IP(proto=OPTION_PROTOCOL) / header))) == CLIENT[version]


@pytest.mark.parametrize(
    ("version", "protocol", "start"),
    [
        (4, TCP_NUMBER, "21 11 000c c6336407 c000020a 9c40 0050"),
        (4, UDP_NUMBER, "21 12 000c c6336407 c000020a 9c40 0050"),
        (6, TCP_NUMBER, "21 21 0024"),
        (6, UDP_NUMBER, "21 22 0024"),
    ],
)
def test_a_proxy_header_is_what_the_specification_says(
    version: int, protocol: int, start: str
) -> None:
    header = proxy_header(protocol, CLIENT[version], VIRTUAL[version])
    assert header[:12] == SIGNATURE
    assert header[12:].startswith(bytes.fromhex(start))
    assert len(header) == {4: 28, 6: 52}[version]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP_NUMBER, UDP_NUMBER])
def test_a_proxy_header_reads_as_it_was_written(version: int, protocol: int) -> None:
    header = proxy_header(protocol, CLIENT[version], VIRTUAL[version])
    expected = (protocol, CLIENT[version], VIRTUAL[version], len(header))
    assert read_proxy_header(header + b"data") == expected
    for cut in range(len(header)):
        assert read_proxy_header(header[:cut]) is None


def test_extensions_of_a_proxy_header_are_stepped_over() -> None:
    header = bytearray(proxy_header(TCP_NUMBER, CLIENT[4], VIRTUAL[4]))
    header[15] += 5
    parsed = read_proxy_header(bytes(header) + b"\x04\0\x02ab" + b"data")
    assert parsed is not None
    assert parsed.length == 33
    assert parsed.source == CLIENT[4]


@pytest.mark.parametrize(("at", "value"), [(0, 0), (12, 0x20), (12, 0x11), (13, 0), (13, 0x31)])
def test_what_names_no_client_is_no_proxy_header(at: int, value: int) -> None:
    header = bytearray(proxy_header(TCP_NUMBER, CLIENT[4], VIRTUAL[4]))
    header[at] = value
    assert read_proxy_header(bytes(header)) is None
