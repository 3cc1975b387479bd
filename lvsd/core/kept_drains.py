"""A drain as bytes, a record of `lvsd.core.snapshot`."""

from __future__ import annotations

from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core.snapshot import Kind

if TYPE_CHECKING:
    from lvsd.core.snapshot import Buffer

_DRAIN: Final = Struct("<BIIId")  # at 1: has deadline, server, its seconds, ended, since


class KeptDrain(NamedTuple):
    """That a server is drained, by the slot of its record; ``since`` is on the monotonic clock.

    ``deadline_s`` is how long its connections have from then on, None: as long as they like.
    ``ended`` of them ended at the deadline.
    """

    server: int
    deadline_s: int | None
    since: float
    ended: int


def write_drain(buffer: Buffer, at: int, drain: KeptDrain) -> None:
    """Have a slot that is free, or has a drain, hold one."""
    server, deadline_s, since, ended = drain
    buffer[at] = 0
    has_deadline = deadline_s is not None
    _DRAIN.pack_into(buffer, at + 1, has_deadline, server, deadline_s or 0, ended, since)
    buffer[at] = Kind.DRAIN


def read_drain(buffer: Buffer, at: int) -> KeptDrain | None:
    """Return the drain that a slot has; None where what it says cannot be."""
    has_deadline, server, deadline_s, ended, since = _DRAIN.unpack_from(buffer, at + 1)
    if not isfinite(since):
        return None
    return KeptDrain(server, deadline_s if has_deadline else None, since, ended)
