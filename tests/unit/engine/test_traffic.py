"""What waits is sent, cut where its way is narrow, or counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.config.plugins import make_scheduler
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.core.verdict import Departure
from lvsd.engine.messages import Begin
from lvsd.engine.traffic import Traffic
from tests.unit.core.world import Segment, raw

if TYPE_CHECKING:
    from collections.abc import Callable

DATAGRAM = raw(
    Segment("udp", "10.0.0.1", 1, "10.0.0.2", 2, payload=bytes(1400), dont_fragment=False)
)


@pytest.fixture
def traffic() -> Traffic:
    """Return traffic that has opened nothing."""
    begin = Begin(0, 4096, Settings(), NEW, (), 0.0, 1.0)
    return Traffic(begin, make_scheduler, lambda _: None, lambda _: None)


def _senders(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch, mtu: Callable[[bytes], int]
) -> list[bytes]:
    """Let the senders say that a packet is longer than ``mtu`` of it, where that is so.

    Return the list of what they take.
    """
    taken: list[bytes] = []

    def send(packet: Departure | bytes, *_: object) -> int:
        data = packet.data if isinstance(packet, Departure) else packet
        if len(data) > mtu(data):
            return mtu(data)
        taken.append(data)
        return 0

    monkeypatch.setattr(traffic.packets, "send", send)
    monkeypatch.setattr(traffic.frames, "send", send)
    return taken


@pytest.mark.parametrize("neighbour", [None, bytes((10, 0, 0, 2))])
def test_what_is_too_long_for_its_way_is_cut_and_sent(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch, neighbour: bytes | None
) -> None:
    taken = _senders(traffic, monkeypatch, lambda _: 576)
    traffic.balancer.outbox.departures.append(Departure(DATAGRAM, neighbour, DATAGRAM, 1))
    traffic.send_waiting()
    assert [len(piece) for piece in taken] == [572, 572, 324]


@pytest.mark.parametrize("mtu", [lambda data: len(data) - 1, lambda _: 67, lambda _: 1])
def test_sending_ends_whatever_the_senders_say_of_their_mtu(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch, mtu: Callable[[bytes], int]
) -> None:
    taken = _senders(traffic, monkeypatch, mtu)
    traffic.balancer.outbox.departures.append(Departure(DATAGRAM, None, DATAGRAM, 1))
    traffic.send_waiting()
    assert (taken, traffic.balancer.outbox.departures) == ([], [])
    assert traffic.balancer.tally.dropped()["too_big"] > 0


def test_what_is_left_to_send_when_the_sockets_are_closed_is_counted(traffic: Traffic) -> None:
    traffic.balancer.outbox.departures.append(Departure(DATAGRAM))
    traffic.send_waiting()
    assert traffic.counters()["packets"]["failed"] == 1
    assert traffic.balancer.outbox.departures == []
