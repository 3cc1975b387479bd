"""What a killed lvsd left of its tables: whether they stand, who may still use them, their end.

A table with an owner went with its lvsd: what stands then is the guard. On a kernel that knows no
owners (`lvsd.io.divert`) the table itself stands, as it does while its lvsd lives. One that was
killed while nft compiled its rules leaves the draft of them.
"""

from __future__ import annotations

from lvsd.io import nf_tables
from lvsd.io.divert import XT_INFO, refused
from lvsd.io.guard import GUARD
from lvsd.io.netlink import NETLINK_NETFILTER, attributes, linked
from lvsd.io.ruleset import DRAFT, QUEUE_CHAIN, TABLE


def table_stands() -> bool:
    """Return whether the table is there, ours or that of another lvsd. Raise KernelError."""
    return TABLE in standing()


def standing() -> list[str]:
    """Return the names of all tables of lvsd's that stand, a living one's or not.

    Raise KernelError.
    """
    with refused(), linked(NETLINK_NETFILTER) as link:
        return [name for name in (TABLE, GUARD, DRAFT) if nf_tables.stands(link, name)]


def remove_leftovers() -> list[str]:
    """Remove what a killed lvsd left of its tables; return their names.

    Make sure first that its daemon is dead (`lvsd.io.machine.cleanup` does). Raise KernelError.
    """
    found = standing()
    if found:
        with refused(), linked(NETLINK_NETFILTER) as link:
            nf_tables.transact(link, [each for name in found for each in nf_tables.gone(name, 0)])
    return found


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
