"""A server that begins slowly as bytes, a record of `lvsd.core.snapshot`."""

from __future__ import annotations

from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core.snapshot import Kind

if TYPE_CHECKING:
    from lvsd.core.snapshot import Buffer

_RAMP: Final = Struct("<Id")  # at 4: server, since


class KeptRamp(NamedTuple):
    """That a server begins slowly, by the slot of its record, ``since`` when (monotonic clock)."""

    server: int
    since: float


def write_ramp(buffer: Buffer, at: int, ramp: KeptRamp) -> None:
    """Have a slot that is free, or has a ramp, hold one."""
    buffer[at] = 0
    _RAMP.pack_into(buffer, at + 4, *ramp)
    buffer[at] = Kind.RAMP


def read_ramp(buffer: Buffer, at: int) -> KeptRamp | None:
    """Return the ramp that a slot has; None where what it says cannot be."""
    ramp = KeptRamp(*_RAMP.unpack_from(buffer, at + 4))
    return ramp if isfinite(ramp.since) else None
