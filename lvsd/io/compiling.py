"""Have the rules compiled that divert: by nft, in a table that is dormant, and read back.

The rule that queues is written by netlink, because a kernel without the nft expression ``queue``
(CONFIG_NFT_QUEUE) often has iptables' target NFQUEUE, which nft cannot write; and because netlink
says by errno what is missing.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.io import nf_tables, nft
from lvsd.io.guard import GUARD, guard_of, guarded_of
from lvsd.io.netlink import attribute, be16, be32, string
from lvsd.io.nf_tables import expression
from lvsd.io.ruleset import DRAFT, QUEUE_CHAIN, REASSEMBLY, TABLE, draft

if TYPE_CHECKING:
    from lvsd.io.netlink import Link, Message
    from lvsd.io.nf_tables import Table

BYPASS: Final = 1
"""NFT_QUEUE_FLAG_BYPASS, NFQ_FLAG_BYPASS."""

XT_INFO: Final = struct.Struct("=HHHxx")
"""struct xt_NFQ_info_v3: queue, total, flags."""

_CHANGE: Final = f"change nftables table inet {TABLE}"
_START_S: Final = 30.0
"""How long nft may take, which may have the kernel load modules."""
_TRIES: Final = 150
"""How often the rules are compiled while others change the ruleset all the time."""
_LONGEST_S: Final = 0.1
"""The longest pause between two tries; they take 15 s in all, and nft its time."""


def compiled(link: Link, queue: int, flags: int, *, guarded: bool, owner: int) -> dict[str, Table]:
    """Return the tables, still without elements, that lead to a queue.

    ``owner`` are the flags of our own. Somebody's ``nft flush ruleset`` takes the draft away, too:
    then it is compiled again. Raise KernelError, also where that happens all the time, or OSError:
    ENOENT if the kernel cannot queue packets to a program.
    """
    draft_table = None
    try:
        for number in range(_TRIES):
            _have_nft_compile(guarded=guarded)
            draft_table = _completed(link, queue, flags)
            if draft_table is not None:
                break
            time.sleep(min(0.005 * 2 ** min(number, 5), _LONGEST_S))
    finally:
        # Without its flag it would wake up before it goes, and its hooks go with it: of a hook that
        # goes the kernel drops every packet that waits in whatever queue (nf_queue_nf_hook_drop).
        nf_tables.transact(link, nf_tables.gone(DRAFT, nf_tables.DORMANT))
    if draft_table is None:
        raise KernelError(
            _CHANGE,
            f"others flush or change the nftables ruleset all the time, {_TRIES} tries long",
            "find who does it by `nft monitor`, end it, and try again",
        )
    tables = {TABLE: guarded_of(draft_table, owner)}
    if guarded:
        tables[GUARD] = guard_of(draft_table)
    return tables


def _completed(link: Link, queue: int, flags: int) -> Table | None:
    """Return the draft with the rule that queues; None if somebody changed something meanwhile.

    Raise OSError: ENOENT if the kernel has no expression that queues.
    """
    before = nf_tables.generation(link)
    try:
        _add_queueing(link, queue, flags)
    except FileNotFoundError:  # no such expression, or no draft to add it to
        if nf_tables.stands(link, DRAFT) and nf_tables.generation(link) == before:
            raise
        return None
    try:
        found = nf_tables.read(link, DRAFT)
    except InterruptedError:  # it changes faster than it can be read
        return None
    if found is None or QUEUE_CHAIN not in found.rules:
        return None
    return found if nf_tables.generation(link) == before + 1 else None


def _add_queueing(link: Link, queue: int, flags: int) -> None:
    """Add the rule that queues to the draft, by whichever expression the kernel has."""
    try:
        nf_tables.transact(link, [_queueing(native_queue(queue, flags))])
    except FileNotFoundError:
        nf_tables.transact(link, [_queueing(xt_queue(queue, flags))])


def native_queue(queue: int, flags: int) -> bytes:
    """Return the nft expression ``queue`` (enum nft_queue_attributes)."""
    return expression("queue", be16(1, queue), be16(2, 1), be16(3, flags))


def xt_queue(queue: int, flags: int) -> bytes:
    """Return iptables' target NFQUEUE, revision 3, as an nft expression (nft_compat)."""
    info = XT_INFO.pack(queue, 1, flags)
    return expression("target", string(1, "NFQUEUE"), be32(2, 3), attribute(3, info))


def _queueing(expression: bytes) -> Message:
    return nf_tables.new_rule(DRAFT, QUEUE_CHAIN, nf_tables.rule(expression))


def _have_nft_compile(*, guarded: bool) -> None:
    """Have the rules compiled, with the first way of reassembly that the kernel has."""
    for reassembly in REASSEMBLY:
        try:
            nft.run(_CHANGE, draft(reassembly, guarded=guarded), _START_S)
        except nft.KilledError:
            raise
        except KernelError:
            if reassembly == REASSEMBLY[-1]:
                raise
        else:
            return
