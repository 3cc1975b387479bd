"""Hold lvsd against the kernel: the same scenario, operation by operation.

What has to be equal: the packets that left, every entry and count that a look shows, and whether a
change was refused. Where lvsd differs deliberately, docs/differences.md says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.ours import Ours
from tests.kernel.scenario import Entry, Observation, Operation, Side, Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kernel.scenario import Scenario, Seen

LATE_S = 0.1
"""So much time may go by between a packet and a look at it."""


def chosen(seen: Sequence[Seen]) -> list[int]:
    """Return which real servers packets went to, by number; clients see nothing of that."""
    return [each.mac[-1] for each in seen if each.side is Side.SERVER]


def differences(
    scenario: Scenario,
    observations: Sequence[Observation],
    alike: Callable[[Operation, object, object], str | None],
) -> Iterator[str]:
    """Yield what lvsd did otherwise than the kernel.

    ``alike`` gets an operation and what was seen of it, the kernel's first, and returns what is
    different, or None.
    """
    ours = Ours(observations[0].at_s)
    for number, (operation, theirs) in enumerate(
        zip(scenario.operations, observations, strict=True)
    ):
        difference = alike(operation, theirs.seen, ours.do(operation, theirs.at_s).seen)
        if difference is not None:
            yield f"{scenario.name}: operation {number}, {operation}: {difference}"


def same_choices(_operation: Operation, theirs: object, ours: object) -> str | None:
    """Compare which servers were chosen, and all counts."""
    match theirs, ours:
        case Sight(), Sight():
            return _unequal(theirs.counts, ours.counts)
        case tuple(), tuple():
            return _unequal(chosen(theirs), chosen(ours))
    return same_refusal(theirs, ours)


def same_sights(_operation: Operation, theirs: object, ours: object) -> str | None:
    """Compare which servers were chosen, all counts, and every entry with its timeout."""
    match theirs, ours:
        case Sight(), Sight():
            return _unequal(theirs.counts, ours.counts) or same_entries(
                theirs.entries, ours.entries
            )
        case tuple(), tuple():
            return _unequal(chosen(theirs), chosen(ours))
    return same_refusal(theirs, ours)


def same_entries(theirs: Sequence[Entry], ours: Sequence[Entry]) -> str | None:
    """Compare connection tables; the kernel shows whole seconds, rounded down."""
    difference = _unequal([entry[:-1] for entry in theirs], [entry[:-1] for entry in ours])
    if difference is not None:
        return difference
    for kernel, lvsd in zip(theirs, ours, strict=True):
        if not -1.0 - LATE_S < kernel.expires_s - lvsd.expires_s <= LATE_S:
            return f"expires in {kernel.expires_s} s for the kernel, {lvsd.expires_s} s: {kernel}"
    return None


def same_refusal(theirs: object, ours: object) -> str | None:
    """Compare whether a change was refused; each has its own words for it."""
    if (theirs is None) != (ours is None):
        return f"the kernel says {theirs!r}, lvsd {ours!r}"
    return None


def _unequal(theirs: object, ours: object) -> str | None:
    return None if theirs == ours else f"the kernel has {theirs}, lvsd {ours}"
