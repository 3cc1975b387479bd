"""The guard: drops what belongs to a service and did not come by the queue.

lvsd's own table has an owner, so that nobody else's ``nft flush ruleset`` takes it away, and it
ends with its daemon. What is a service's must not then reach the host's own TCP, which would reset
every connection of a VIP that is an address of the host; nor may replies leave untranslated. Where
``on_crash`` is "drop", a second table stands for that, which has no owner and stays.

It consists of the same chains with the same rules over the same sets, each chain right behind its
original. What passes the original, queued or not, carries the bit `SEEN` of its priority; the guard
takes that off and lets the packet pass. Any other packet that a rule matches is dropped.

While both tables stand the guard drops nothing. So there is no gap when somebody flushes the
ruleset, and takes the guard away: it is put up again while the packets take their usual way.

A stop that a start is to follow leaves it alone for some seconds, under the name `HOLD`. Then the
elements of its sets are gone, by themselves, and it matches no packet any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lvsd.io.nf_tables import Table, expiring, moved
from lvsd.io.ruleset import GUARD_CHAIN, QUEUE_CHAIN, SET_TYPES

GUARD: Final = "lvsd_guard"
HOLD: Final = "lvsd_hold"

_BEHIND: Final = 1


def guard_of(draft: Table) -> Table:
    """Return the guard of a table, given as it was compiled (`lvsd.io.ruleset.draft`)."""
    _, if_seen, drop = draft.rules[GUARD_CHAIN]
    rules = {}
    for chain, own in draft.rules.items():
        if not draft.chains[chain]:
            rules[chain] = own
        elif _queues(own):
            rules[chain] = (if_seen, *own)
    del rules[GUARD_CHAIN]
    rules[QUEUE_CHAIN] = (drop,)
    chains = {name: draft.chains[name] for name in rules}
    # The kernel refuses a set without a name of its own that no rule asks.
    unasked = {
        name
        for name in draft.sets.keys() - SET_TYPES.keys()
        if not any(_name(name) in each for own in rules.values() for each in own)
    }
    return Table(
        0,
        {name: moved(hook, _BEHIND) if hook else b"" for name, hook in chains.items()},
        rules,
        {name: kind for name, kind in draft.sets.items() if name not in unasked},
        {name: found for name, found in draft.elements.items() if name not in unasked},
    )


def hold_of(guard: Table, hold_s: float) -> Table:
    """Return a guard that drops nothing more after so many seconds."""
    timeout_ms = max(1, round(hold_s * 1000))
    sets = {
        name: expiring(kind, timeout_ms) if name in SET_TYPES else kind
        for name, kind in guard.sets.items()
    }
    return replace(guard, sets=sets)


def guarded_of(draft: Table, flags: int) -> Table:
    """Return lvsd's own table, given as it was compiled. Without a guard it is just that."""
    mark = draft.rules.get(GUARD_CHAIN, ())[:1]
    rules = {
        chain: (*mark, *own) if draft.chains[chain] and _queues(own) else own
        for chain, own in draft.rules.items()
        if chain != GUARD_CHAIN
    }
    chains = {name: hook for name, hook in draft.chains.items() if name != GUARD_CHAIN}
    return Table(flags, chains, rules, draft.sets, draft.elements)


def _queues(rules: tuple[bytes, ...]) -> bool:
    return any(_name(QUEUE_CHAIN) in rule for rule in rules)


def _name(name: str) -> bytes:
    """Return a name as it stands in a rule that leads to a chain, or asks a set."""
    return name.encode() + b"\0"
