"""Have the rules compiled that divert: by nft, in a table that is dormant, and read back.

The rule that queues is written by netlink, because a kernel without the nft expression ``queue``
(CONFIG_NFT_QUEUE) often has iptables' target NFQUEUE, which nft cannot write; and because netlink
says by errno what is missing.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
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
_TRIES: Final = 20
"""How often the rules are compiled while others change the ruleset all the time."""


def compiled(link: Link, queue: int, flags: int, *, guarded: bool, owner: int) -> dict[str, Table]:
    """Return the tables, still without elements, that lead to a queue.

    ``owner`` are the flags of our own. Raise KernelError, or OSError: ENOENT if the kernel cannot
    queue packets to a program.
    """
    try:
        for _ in range(_TRIES):
            before = nf_tables.generation(link)
            _have_nft_compile(guarded=guarded)
            try:
                nf_tables.transact(link, [_queueing(native_queue(queue, flags))])
            except FileNotFoundError:  # no such expression, or somebody flushed the ruleset
                with suppress(FileNotFoundError):
                    nf_tables.transact(link, [_queueing(xt_queue(queue, flags))])
            draft_table = nf_tables.read(link, DRAFT)
            if nf_tables.generation(link) == before + 2:  # nobody else's change was between
                break
    finally:
        # Without its flag it would wake up before it goes, and its hooks go with it: of a hook that
        # goes the kernel drops every packet that waits in whatever queue (nf_queue_nf_hook_drop).
        nf_tables.transact(link, nf_tables.gone(DRAFT, nf_tables.DORMANT))
    if draft_table is None or QUEUE_CHAIN not in draft_table.rules:
        raise FileNotFoundError(errno.ENOENT, "no rule that queues")
    tables = {TABLE: guarded_of(draft_table, owner)}
    if guarded:
        tables[GUARD] = guard_of(draft_table)
    return tables


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
