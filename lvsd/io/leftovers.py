"""What a killed lvsd left of its tables: whether they stand, who may still use them, their end.

A table with an owner went with its lvsd: what stands then is the guard, and after an ordinary stop
the hold, which matches nothing any more after some seconds. On a kernel that knows no
owners (`lvsd.io.divert`) the table itself stands, as it does while its lvsd lives. One that was
killed while nft compiled its rules leaves the draft of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.io import nf_tables
from lvsd.io.compiling import XT_INFO
from lvsd.io.divert import refused
from lvsd.io.guard import GUARD, HOLD
from lvsd.io.netlink import NETLINK_NETFILTER, attributes, linked
from lvsd.io.ruleset import DRAFT, QUEUE_CHAIN, TABLE

if TYPE_CHECKING:
    from collections.abc import Container


def table_stands() -> bool:
    """Return whether the table is there, ours or that of another lvsd. Raise KernelError."""
    return TABLE in standing()


def standing() -> list[str]:
    """Return the names of all tables of lvsd's that stand, a living one's or not.

    Raise KernelError.
    """
    with refused(), linked(NETLINK_NETFILTER) as link:
        return [name for name in (TABLE, GUARD, HOLD, DRAFT) if nf_tables.stands(link, name)]


def remove_leftovers(but: Container[str] = ()) -> list[str]:
    """Remove what an lvsd left of its tables, ``but`` some of them; return their names.

    Make sure first that its daemon is dead (`lvsd.io.machine.cleanup` does). Raise KernelError.
    """
    found = [name for name in standing() if name not in but]
    if found:
        with refused(), linked(NETLINK_NETFILTER) as link:
            nf_tables.transact(link, [each for name in found for each in nf_tables.gone(name, 0)])
    return found


def are_held() -> bool:
    """Return whether an lvsd left what keeps packets from the host. Raise KernelError."""
    return not {GUARD, HOLD}.isdisjoint(standing())


def remove_guard() -> None:
    """Remove the guard that a killed lvsd left, unless an lvsd's table stands. Raise KernelError.

    For a start that failed before it diverted packets.
    """
    found = standing()
    if GUARD in found and TABLE not in found:
        remove_leftovers(but={HOLD, DRAFT})


def is_ours() -> bool:
    """Return whether the table has the chain by which an lvsd queues. Raise KernelError."""
    with refused(), linked(NETLINK_NETFILTER) as link:
        return QUEUE_CHAIN in nf_tables.chains(link, TABLE)


def queue_of_table() -> int | None:
    """Return the number of the queue that the table leads to; None where no rule says it.

    Raise KernelError.
    """
    with refused(), linked(NETLINK_NETFILTER) as link:
        rules = nf_tables.rules(link, TABLE).get(QUEUE_CHAIN, ())
    numbers = (_queue_of(expression) for rule in rules for expression in nf_tables.parts(rule))
    return next((number for number in numbers if number is not None), None)


def _queue_of(expression: bytes) -> int | None:
    """Return the queue of an expression of a rule, if `native_queue` or `xt_queue` made it."""
    found = attributes(expression, 0)
    data = attributes(found.get(2, b""), 0)
    match found.get(1):
        case b"queue\0":
            return int.from_bytes(data[1], "big")
        case b"target\0":
            number: int = XT_INFO.unpack_from(data[3])[0]
            return number
        case _:
            return None
