"""Whatever packet a flow goes on with, every way of forwarding has an answer, and keeps nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from tests.fuzz.ways import WAYS, exercise_ways
from tests.property.core.test_any_bytes import PACKETS, damaged
from tests.property.examples import examples

if TYPE_CHECKING:
    from forwarders.base import Forwarder


@pytest.mark.parametrize("packet", PACKETS)
def test_a_packet_goes_every_way(packet: bytes) -> None:
    exercise_ways(packet)


@pytest.mark.parametrize("way", WAYS)
@examples(60)
@given(packet=damaged())
def test_a_damaged_packet_raises_nothing_on_any_way(way: Forwarder, packet: bytes) -> None:
    exercise_ways(packet, [way])
