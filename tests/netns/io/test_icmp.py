"""Our own ICMP messages on the wire."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.io.icmp_sender import IcmpSender
from lvsd.packet.address import pack
from tests.netns.io.hosts import CLIENT4, CLIENT6

if TYPE_CHECKING:
    from tests.netns.io.hosts import Row

# time exceeded, the packet inside all zero: RFC 792, RFC 4443 section 3.3
EXCEEDED4 = b"\x0b\x00\xf4\xff\0\0\0\0" + bytes(28)
EXCEEDED6 = b"\x03\x00\0\0\0\0\0\0" + bytes(48)


def test_an_icmp_message_goes_out_as_it_was_given(row: Row) -> None:
    sender = IcmpSender()
    with row.client.raw(socket.IPPROTO_ICMP) as receiver:
        sender.open()
        assert sender.send(EXCEEDED4, pack(CLIENT4))
        packet = receiver.recv(200)
    sender.close()
    assert (packet[12:16], packet[20:]) == (pack("192.0.2.1"), EXCEEDED4)
    assert sender.stats.sent == 1


def test_the_kernel_fills_in_the_checksum_of_an_icmpv6_message(row: Row) -> None:
    sender = IcmpSender()
    with row.client.raw(socket.IPPROTO_ICMPV6, socket.AF_INET6) as receiver:
        sender.open()
        assert sender.send(EXCEEDED6, pack(CLIENT6))
        message = receiver.recv(200)
        while message[0] >= 128:  # neighbour discovery
            message = receiver.recv(200)
    sender.close()
    assert (message[:2], message[4:]) == (EXCEEDED6[:2], EXCEEDED6[4:])
    assert message[2:4] != b"\0\0"


def test_a_message_that_nobody_can_get_is_counted_and_raises_nothing(row: Row) -> None:
    del row
    sender = IcmpSender()
    sender.open()
    assert not sender.send(EXCEEDED4, pack("203.0.113.1"))
    sender.close()
    assert (sender.stats.sent, sender.stats.failed) == (0, 1)


@pytest.mark.parametrize(
    ("quoted", "expected"), [(0x00, 0xC0), (0x02, 0xC2), (0x03, 0xC2), (0xB8, 0xD8), (0xFF, 0xDE)]
)
def test_an_icmp_error_has_its_precedence_and_the_quoted_type_of_service(
    row: Row, quoted: int, expected: int
) -> None:
    sender = IcmpSender()
    message = EXCEEDED4[:9] + bytes((quoted,)) + EXCEEDED4[10:]
    with row.client.raw(socket.IPPROTO_ICMP) as receiver:
        sender.open()
        assert sender.send(message, pack(CLIENT4))
        packet = receiver.recv(200)
    sender.close()
    assert packet[1] == expected


def test_an_icmp_error_over_ipv4_may_be_fragmented(row: Row) -> None:
    sender = IcmpSender()
    with row.client.raw(socket.IPPROTO_ICMP) as receiver:
        sender.open()
        assert sender.send(EXCEEDED4, pack(CLIENT4))
        packet = receiver.recv(200)
    sender.close()
    assert packet[6:8] == bytes(2)
