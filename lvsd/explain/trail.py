"""What every way of explaining does: put packets into frames, and follow them from hop to hop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lvsd.explain.changes import changes
from lvsd.explain.model import Journey
from lvsd.explain.sums import sums
from lvsd.packet.numbers import ETHERTYPES
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.plan import Plan
    from lvsd.explain.model import Direction, Entry, Hop, Sum

MAC_BYTES: Final = 6
MACS: Final = slice(2 * MAC_BYTES)
"""Where a frame has its destination and its source."""

_NO_KIND: Final = bytes(2)


def framed(macs: bytes, packet: bytes) -> bytes:
    """Return an IP packet behind the MACs of a frame, destination first; also a bad one."""
    kind = ETHERTYPES.get(packet[0] >> 4) if packet else None
    return macs + (kind or _NO_KIND) + packet


def loaded(data: bytes) -> Packet:
    """Return the view of a packet that is known to be good."""
    packet = Packet()
    packet.load(data)
    return packet


def trail(
    hops: Sequence[Hop], plan: Plan | None, direction: Direction
) -> tuple[tuple[Hop, ...], tuple[Sum, ...]]:
    """Return the hops with what changed at each since the one before, and the director's sums."""
    told = [hops[0]]
    arithmetic: list[Sum] = []
    for former, hop in pairwise(hops):
        found = changes(former.frame, hop.frame, hop.host, plan, direction)
        if hop.host == "director" and found:
            arithmetic += sums(former.frame, hop.frame)
        told.append(replace(hop, changes=found))
    return tuple(told), tuple(arithmetic)


def journey(
    title: str,
    direction: Direction,
    hops: Sequence[Hop],
    outcome: str,
    plan: Plan | None = None,
    entry: Entry | None = None,
) -> Journey:
    """Return a packet's way, with what changed from hop to hop."""
    told, arithmetic = trail(hops, plan, direction)
    return Journey(title, direction, told, outcome, entry, arithmetic)
