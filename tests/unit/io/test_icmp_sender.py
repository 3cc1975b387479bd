"""Failures of sending ICMP messages, that nobody hears of but the counter."""

from __future__ import annotations

from lvsd.io.icmp_sender import IcmpSender
from lvsd.packet.address import pack


def test_a_sender_that_is_not_open_counts_a_failure_and_raises_nothing() -> None:
    sender = IcmpSender()
    assert not sender.send(b"\x0b\0\0\0", pack("192.0.2.1"))
    assert (sender.stats.sent, sender.stats.failed) == (0, 1)
