"""Senders that are not open: failures that nobody hears of but the counter."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest

from lvsd.core.verdict import Departure
from lvsd.io import frame_sender
from lvsd.io.frame_sender import FrameSender
from lvsd.io.leads import Lead
from lvsd.io.packet_sender import PacketSender

PACKETS = [b"", b"\x45" + bytes(19), b"\x60" + bytes(39), b"\x45", b"\x60", b"\xff" * 100]


@pytest.mark.parametrize("data", PACKETS)
def test_a_packet_sender_that_is_not_open_counts_a_failure_and_raises_nothing(data: bytes) -> None:
    sender = PacketSender()
    assert sender.send(data) == 0
    assert (sender.stats.sent, sender.stats.failed) == (0, 1)
    assert sum(sender.errors.values()) == 1


def test_senders_may_be_closed_twice_and_before_they_are_open() -> None:
    packets, frames = PacketSender(), FrameSender(lambda: 0.0, lambda _, __: None, lambda _: None)
    for _ in range(2):
        packets.close()
        frames.close()
    frames.tick(0.0)
    assert frames.problems() == {}


SERVER = bytes((10, 0, 0, 11))
LEAD = Lead(7, "back", bytes(6), 1500)
PACKET = Departure(b"\x45" + bytes(19), SERVER)


def test_a_socket_that_could_not_be_opened_is_tried_again_at_the_next_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int) -> NoReturn:
        raise OSError(24, "Too many open files")

    frames = FrameSender(lambda: 0.0, lambda _, __: None, lambda _: None)
    monkeypatch.setattr(frame_sender, "_frame_socket", refuse)
    frames.leads({SERVER: LEAD})
    frames.send(PACKET, SERVER, 0.0)
    assert frames.problems() == {SERVER: "no packet socket: Too many open files"}
    monkeypatch.setattr(frame_sender, "_frame_socket", lambda _: socket.socketpair()[0])
    frames.tick(1.0)
    assert frames.problems() == {}
    frames.close()
