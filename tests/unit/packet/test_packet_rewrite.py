"""What the rewriter refuses to compile, and the corners of what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from forwarders.plan import SetDestination, SetSource
from lvsd.packet.address import pack
from lvsd.packet.rewrite import compile_steps
from lvsd.packet.view import SCTP, TCP, UDP, Packet
from tests.unit.packet import samples
from tests.unit.packet.samples import sample

CLIENT = pack(samples.CIP[4]), samples.CPORT
VIRTUAL = pack(samples.VIP[4]), samples.VPORT
REAL = pack("10.0.0.11"), 8080
REAL6 = pack("fd00::11"), 8080


@dataclass
class Shout:
    """A step that nobody has taught the rewriter."""


def loaded(data: bytes) -> Packet:
    packet = Packet()
    assert packet.load(data) is None
    return packet


def test_an_unknown_step_is_refused_at_compile_time() -> None:
    steps = cast("Any", (SetDestination(*REAL), Shout()))
    with pytest.raises(TypeError, match=r"knows no step Shout\(\)"):
        compile_steps(steps, TCP, destination=VIRTUAL)


def test_a_replaced_end_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"set source 192\.0\.2\.10:80: the old source"):
        compile_steps((SetSource(*VIRTUAL),), TCP, destination=REAL)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (SetSource(*VIRTUAL), "set source 192.0.2.10:80"),
        (SetDestination(*REAL6), "set destination [fd00::11]:8080"),
        (SetDestination(REAL[0], None), "set destination 10.0.0.11"),
        (SetSource(REAL6[0], None), "set source fd00::11"),
    ],
)
def test_a_step_says_what_it_does(step: SetSource | SetDestination, text: str) -> None:
    assert str(step) == text


def test_a_replaced_port_must_be_given() -> None:
    with pytest.raises(ValueError, match="the old port was not given"):
        compile_steps((SetDestination(*REAL),), TCP, destination=(VIRTUAL[0], None))


def test_both_families_in_one_change_are_refused() -> None:
    with pytest.raises(ValueError, match="all IPv4 or all IPv6"):
        compile_steps((SetDestination(*REAL6),), TCP, destination=VIRTUAL)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="all IPv4 or all IPv6"):
        compile_steps((), TCP, destination=VIRTUAL)


def test_an_end_that_no_step_replaces_may_be_given_and_stays() -> None:
    packet = loaded(sample(4, TCP))
    only = compile_steps((SetDestination(*REAL),), TCP, destination=VIRTUAL)
    both = compile_steps((SetDestination(*REAL),), TCP, source=CLIENT, destination=VIRTUAL)
    assert both(packet) == only(packet)


def test_there_and_back_again_is_the_same_packet() -> None:
    for protocol in (TCP, UDP, SCTP):
        data = sample(4, protocol)
        there = compile_steps((SetDestination(*REAL),), protocol, destination=VIRTUAL)
        back = compile_steps((SetDestination(*VIRTUAL),), protocol, destination=REAL)
        assert back(loaded(there(loaded(data)))) == data


def test_the_old_bytes_stay_as_they_are() -> None:
    packet = loaded(sample(4, SCTP))
    before = packet.data
    compile_steps((SetDestination(*REAL),), SCTP, destination=VIRTUAL)(packet)
    assert packet.data == sample(4, SCTP) == before


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, SCTP])
def test_a_ttl_of_zero_is_not_decremented(version: int, protocol: int) -> None:
    data = bytearray(sample(version, protocol))
    data[8 if version == 4 else 7] = 0
    packet = loaded(bytes(data))
    new = REAL if version == 4 else REAL6
    old = packet.destination, samples.VPORT
    once, never = (
        compile_steps((SetDestination(*new),), protocol, destination=old, decrement_ttl=decrement)
        for decrement in (True, False)
    )
    assert once(packet) == never(packet)
