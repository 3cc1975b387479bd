"""Which ports are FULLNAT's and which the host's, of those that the host takes for itself.

The host takes a port of `ip_local_port_range` for each connection that a program opens. One from a
local address to a real server could meet a connection of FULLNAT's there, and its answers would be
rewritten and sent to a client. So those ports that FULLNAT gives, the host is to leave alone
(`ip_local_reserved_ports`); and FULLNAT leaves it enough for its own connections.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.core.local_pool import Range

HOST_NEEDS: Final = 8192
"""Ports that the host has for its own connections at least, or half of them if there are fewer."""

SMALL: Final = 2 * HOST_NEEDS
"""A range of fewer ports than this gives all of them: the operator meant these."""

FEW: Final = 1024
"""The operator is told where fewer than this are left to the host."""


class Division(NamedTuple):
    """``reserved`` is what FULLNAT has of the host's ports, ``kept`` what it leaves to the host.

    Of ``kept`` are only ports that FULLNAT would give otherwise. ``left`` counts all that the host
    has for its own connections.
    """

    reserved: tuple[Range, ...]
    kept: tuple[Range, ...]
    left: int


def divide(given: Iterable[Range], host: Range, reserved: Iterable[Range]) -> Division:
    """Divide the ports that the host takes for itself, all but those that are ``reserved``.

    ``given`` are FULLNAT's ranges. What the host keeps is taken from the top of large ones.
    """
    given = list(given)
    free = _ports([host]) - _ports(reserved)
    wanted = free & _ports(given)
    large = wanted - _ports(each for each in given if each[1] - each[0] + 1 < SMALL)
    missing = min(HOST_NEEDS, len(free) // 2) - (len(free) - len(wanted))
    kept = set(sorted(large)[-missing:]) if missing > 0 else set()
    ours = wanted - kept
    return Division(ranges(ours), ranges(kept), len(free) - len(ours))


def ranges(ports: Iterable[int]) -> tuple[Range, ...]:
    """Return ports as ranges, in order, none of which touches another."""
    found = sorted(ports)
    if not found:
        return ()
    breaks = [(low, high) for low, high in pairwise(found) if high > low + 1]
    lows = [found[0], *(high for _, high in breaks)]
    highs = [*(low for low, _ in breaks), found[-1]]
    return tuple(zip(lows, highs, strict=True))


def parse(text: str) -> tuple[Range, ...]:
    """Return the ranges of `ip_local_reserved_ports`, such as ``8080,9148-9150``.

    Raise ValueError for anything else.
    """
    found = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.append((int(low), int(high or low)))
    return tuple(found)


def write(of: Iterable[Range]) -> str:
    """Return ranges as the kernel writes them in `ip_local_reserved_ports`."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in joined(of))


def joined(of: Iterable[Range]) -> tuple[Range, ...]:
    """Return the ports of all ranges as the fewest ranges, in order."""
    return ranges(_ports(of))


def without(of: Iterable[Range], removed: Iterable[Range]) -> tuple[Range, ...]:
    """Return the ports of some ranges that are not in others."""
    return ranges(_ports(of) - _ports(removed))


def _ports(of: Iterable[Range]) -> set[int]:
    return {port for low, high in of for port in range(low, high + 1)}
