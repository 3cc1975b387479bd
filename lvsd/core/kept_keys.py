"""The keys of a connection that is written down, and what it has in common with many others.

Without the rest of its record (`lvsd.core.snapshot`), which takes several times as long to read.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core.snapshot import BYPASSES, HAS_TEMPLATE, TRANSLATED, V6, V6_KEY

if TYPE_CHECKING:
    from lvsd.core.snapshot import Buffer

_KEYS: Final = Struct("<x11s37s37s2xH")
_COMMON: Final = Struct("<BB5xI")


class KeptKeys(NamedTuple):
    """The keys of a connection, with zeros behind those of IPv4.

    ``common`` is for `Common.of`. ``learned`` is not 0 if its translation has learned something.
    """

    common: bytes
    key: bytes
    reply_key: bytes
    learned: int


class Common(NamedTuple):
    """What many connections have in common, by their records."""

    state: int
    is_v6: bool
    bypasses: bool
    is_translated: bool
    has_template: bool
    server: int

    @classmethod
    def of(cls, common: bytes) -> Common:
        """Take it apart."""
        state, flags, server = _COMMON.unpack(common)
        return cls(
            state,
            bool(flags & V6),
            bool(flags & BYPASSES),
            bool(flags & TRANSLATED),
            bool(flags & HAS_TEMPLATE),
            server,
        )


def read_keys(buffer: Buffer, at: int) -> KeptKeys:
    """Return the keys of the connection that a slot has."""
    return KeptKeys(*_KEYS.unpack_from(buffer, at))


read_keys_quickly: Final = _KEYS.unpack_from
"""The same as a plain tuple, in a third of the time (bench/adopting.py)."""


def padded(key: bytes) -> bytes:
    """Return a key as `KeptKeys` has it."""
    return key.ljust(V6_KEY, b"\0")
