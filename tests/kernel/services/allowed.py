"""What lvsd may do otherwise than the kernel in stories about services.

Each rule names the row of docs/differences.md, by its first cell, that says why.
"""

from __future__ import annotations

from tests.kernel.compare import LATE_S, same_sights
from tests.kernel.scenario import TCP, Entry, Operation, Sight

END_OF_A_CONNECTION = "end of a connection"
HOST_ANSWERS = "the host's own RST to a client of DR or TUN"
ROWS = (END_OF_A_CONNECTION, HOST_ANSWERS)

LINGER_S = 60.0
LATER_S = 20.0
"""A template that lives on does so in steps, each as late as the kernel's timer for it."""

CLOSE, CLOSE_S = "CLOSE", 10.0


def same_services(operation: Operation, theirs: object, ours: object) -> str | None:
    """Compare as `same_sights` does, but for the rules; services stand in any order."""
    if isinstance(theirs, Sight) and isinstance(ours, Sight):
        theirs = _without_what_the_host_closed(theirs, ours)
        ours = _living_on_alike(theirs, ours)
        theirs, ours = _in_order(theirs), _in_order(ours)
    return same_sights(operation, theirs, ours)


def _in_order(sight: Sight) -> Sight:
    return sight._replace(counts=tuple(sorted(sight.counts, key=lambda each: each.service)))


def _living_on_alike(theirs: Sight, ours: Sight) -> Sight:
    """Return ours with the kernel's time where a template lives on a little longer there.

    The row is `END_OF_A_CONNECTION`.
    """
    if [entry[:-1] for entry in theirs.entries] != [entry[:-1] for entry in ours.entries]:
        return ours
    entries = tuple(
        entry._replace(expires_s=kernel.expires_s) if _lives_on(kernel, entry) else entry
        for kernel, entry in zip(theirs.entries, ours.entries, strict=True)
    )
    return ours._replace(entries=entries)


def _lives_on(kernel: Entry, entry: Entry) -> bool:
    """Whether both are a template in its last minute, the kernel's a little behind.

    After many steps that may be one step less.
    """
    longest_s = max(kernel.expires_s, entry.expires_s)
    later_s = (kernel.expires_s + 1.0 + LATE_S - entry.expires_s) % LINGER_S
    return not entry.cport and longest_s <= LINGER_S and later_s <= LATER_S


def _without_what_the_host_closed(theirs: Sight, ours: Sight) -> Sight:
    """Return theirs without TCP connections in CLOSE that we have not, to servers that are gone.

    The row is `HOST_ANSWERS`.
    """
    known = {entry[:-1] for entry in ours.entries}
    present = {(each.address, each.port) for each in ours.counts}
    entries = tuple(
        entry
        for entry in theirs.entries
        if entry[:-1] in known
        or (entry.protocol, entry.state) != (TCP, CLOSE)
        or entry.expires_s > CLOSE_S
        or (entry.rip, entry.rport) in present
    )
    return theirs._replace(entries=entries)
