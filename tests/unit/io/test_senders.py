"""Senders that are not open: failures that nobody hears of but the counter."""

from __future__ import annotations

import pytest

from lvsd.io.frame_sender import FrameSender
from lvsd.io.packet_sender import PacketSender

PACKETS = [b"", b"\x45" + bytes(19), b"\x60" + bytes(39), b"\x45", b"\x60", b"\xff" * 100]


@pytest.mark.parametrize("data", PACKETS)
def test_a_packet_sender_that_is_not_open_counts_a_failure_and_raises_nothing(data: bytes) -> None:
    sender = PacketSender()
    assert sender.send(data) == 0
    assert (sender.stats.sent, sender.stats.failed) == (0, 1)
    assert sum(sender.errors.values()) == 1


def test_senders_may_be_closed_twice_and_before_they_are_open() -> None:
    packets, frames = PacketSender(), FrameSender(lambda: 0.0, lambda _, __: None)
    for _ in range(2):
        packets.close()
        frames.close()
    frames.tick(0.0)
    assert frames.problems() == {}
