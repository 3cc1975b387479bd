"""The messages that verdicts are, read back with the kernel's layout."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from lvsd.io.verdicts import FLUSH_AT, Verdicts

QUEUE = 7
ID = struct.pack("!I", 0x01020304)


class Read(NamedTuple):
    """One message as the kernel understands it."""

    kind: int
    flags: int
    queue: int
    verdict: int
    packet_id: bytes
    data: bytes | None


def read(datagram: bytes) -> list[Read]:
    """Take a datagram apart: nlmsghdr, nfgenmsg, attributes, each aligned to four bytes."""
    messages = []
    while datagram:
        length, kind, flags, _, _ = struct.unpack_from("=IHHII", datagram)
        (queue,) = struct.unpack_from("!H", datagram, 18)
        attributes = {}
        at = 20
        while at < length:
            size, number = struct.unpack_from("=HH", datagram, at)
            attributes[number] = datagram[at + 4 : at + size]
            at += size + 3 & ~3
        assert at == length
        (verdict,) = struct.unpack_from("!I", attributes[2])
        messages.append(Read(kind, flags, queue, verdict, attributes[2][4:], attributes.get(10)))
        datagram = datagram[length:]
    return messages


class Kernel:
    """Takes datagrams, and refuses those that hold a certain packet's verdict."""

    def __init__(self, refused: bytes = b"none") -> None:
        self.refused = refused
        self.taken: list[bytes] = []

    def send(self, datagram: bytes) -> int:
        """Take all of a datagram, or nothing."""
        if any(message.packet_id == self.refused for message in read(datagram)):
            raise OSError(errno.ENOMEM, "no memory")
        self.taken.append(datagram)
        return len(datagram)


def test_each_verdict_is_a_message_that_the_kernel_understands() -> None:
    kernel = Kernel()
    verdicts = Verdicts(QUEUE, kernel.send)
    verdicts.accept(ID)
    verdicts.drop(ID)
    for data in (b"1", b"12", b"123", b"1234"):
        verdicts.replace(ID, data)
    verdicts.flush()
    assert [message for datagram in kernel.taken for message in read(datagram)] == [
        Read(0x0301, 1, QUEUE, 1, ID, None),
        Read(0x0301, 1, QUEUE, 0, ID, None),
        *(Read(0x0301, 1, QUEUE, 1, ID, data) for data in (b"1", b"12", b"123", b"1234")),
    ]


def test_verdicts_wait_for_each_other_but_not_for_too_many() -> None:
    kernel = Kernel()
    verdicts = Verdicts(QUEUE, kernel.send)
    for _ in range(FLUSH_AT - 1):
        verdicts.accept(ID)
    assert kernel.taken == []
    verdicts.accept(ID)
    assert [len(read(datagram)) for datagram in kernel.taken] == [FLUSH_AT]


def test_large_packets_fill_a_datagram_sooner() -> None:
    kernel = Kernel()
    verdicts = Verdicts(QUEUE, kernel.send)
    verdicts.replace(ID, bytes(65531))
    verdicts.flush()
    for _ in range(FLUSH_AT):
        verdicts.replace(ID, bytes(9000))
    assert max(map(len, kernel.taken)) < 1 << 17


def test_nothing_is_sent_when_nothing_waits() -> None:
    kernel = Kernel()
    Verdicts(QUEUE, kernel.send).flush()
    assert kernel.taken == []


def test_a_verdict_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    bad = bytes(4)
    kernel = Kernel(refused=bad)
    verdicts = Verdicts(QUEUE, kernel.send)
    for packet_id in (ID, bad, ID):
        verdicts.accept(packet_id)
    verdicts.flush()
    assert [read(datagram)[0].packet_id for datagram in kernel.taken] == [ID, ID]
    assert verdicts.failed == 1
