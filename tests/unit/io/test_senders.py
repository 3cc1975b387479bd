"""Senders that are not open: failures that nobody hears of but the counter."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NoReturn

import pytest

from lvsd.core.verdict import Departure
from lvsd.errors import KernelError
from lvsd.io import frame_sender
from lvsd.io.frame_sender import FrameSender
from lvsd.io.packet_sender import PacketSender
from lvsd.io.routes import Way

if TYPE_CHECKING:
    from collections.abc import Iterable

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


SERVER = bytes((10, 0, 0, 11))
WAY = Way(7, "back", None, is_ethernet=True, mac=bytes(6), mtu=1500)
PACKET = Departure(b"\x45" + bytes(19), SERVER)


def known(addresses: Iterable[bytes]) -> dict[bytes, Way]:
    return dict.fromkeys(addresses, WAY)


def refuse(_: Iterable[bytes]) -> NoReturn:
    raise KernelError("look up routes", OSError(24, "Too many open files"), "see `ip route`")


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> FrameSender:
    """Return a sender whose frames go nowhere."""
    monkeypatch.setattr(frame_sender, "_frame_socket", lambda _: socket.socketpair()[0])
    return FrameSender(lambda: 0.0, lambda _, __: None)


def test_a_way_that_could_not_be_looked_up_is_looked_up_at_the_next_tick(
    frames: FrameSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_sender, "ways", refuse)
    frames.send(PACKET, SERVER, 0.0)
    assert "Too many open files" in frames.problems()[SERVER]
    monkeypatch.setattr(frame_sender, "ways", known)
    frames.tick(1.0)
    assert frames.problems() == {}
    frames.close()


def test_a_known_way_outlives_a_kernel_that_does_not_tell(
    frames: FrameSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_sender, "ways", known)
    frames.send(PACKET, SERVER, 0.0)
    monkeypatch.setattr(frame_sender, "ways", refuse)
    frames.refresh()
    frames.tick(0.5)
    assert frames.problems() == {}
    frames.close()
