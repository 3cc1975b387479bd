"""The packets of a connection are told apart, at every hop, as the explanation names them."""

from __future__ import annotations

import pytest

from lvsd.explain import explain
from lvsd.lab.capture import Hop
from lvsd.lab.plan import WAYS
from lvsd.lab.segments import DIRECTIONS, is_a, packet_of

PORTS = {80, 8080}


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("mode", WAYS)
def test_each_packet_is_only_what_it_is(mode: str, *, ipv6: bool) -> None:
    for journey in explain(mode, ipv6=ipv6).journeys:
        for hop in journey.hops:
            for data in (hop.frame.data, packet_of(hop.frame.data)):
                kinds = [kind for kind in DIRECTIONS if is_a(kind, PORTS)(data)]
                assert kinds == [journey.title.replace("last ACK", "ACK")]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(60),
        bytes.fromhex("ffffffffffff 020000000001 0806 0001080006040001"),
        bytes(12) + b"\x08\x00" + b"\x45",
    ],
)
def test_what_is_no_segment_is_nothing(frame: bytes) -> None:
    assert [kind for kind in DIRECTIONS if is_a(kind, PORTS)(frame)] == []


def test_a_hop_shows_a_packet_by_its_bytes_or_by_a_look_at_it() -> None:
    by_bytes = Hop("request", "client", "eth0", b"GET / HTTP")
    by_look = Hop("short", "client", "eth0", lambda frame: len(frame) < 3)

    assert [by_bytes.shows(frame) for frame in (b"..GET / HTTP/1.1", b"GET")] == [True, False]
    assert [by_look.shows(frame) for frame in (b"..", b"...")] == [True, False]
