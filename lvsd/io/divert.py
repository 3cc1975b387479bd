"""Divert the packets of virtual services, and their replies, into NFQUEUE.

All of it is one nftables table of our own, ``inet lvsd``, and its guard (`lvsd.io.guard`); nothing
else of the machine's ruleset is read or written. nft compiles the rules once, in a table that is
dormant; from then on everything goes by netlink (`lvsd.io.nf_tables`), each time in one
transaction, so that packets meet all or nothing: both tables when they go up, other elements of
their sets while they stand, no tables any more when they go down.

The rule that queues is written by netlink too, because a kernel without the nft expression
``queue`` (CONFIG_NFT_QUEUE) often has iptables' target NFQUEUE, which nft cannot write; and because
netlink says by errno what is missing.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import nf_tables, nft
from lvsd.io.guard import GUARD, HOLD, guard_of, guarded_of, hold_of
from lvsd.io.netlink import NETLINK_NETFILTER, Link, attribute, be16, be32, string
from lvsd.io.nf_tables import OWNED, Table, expression
from lvsd.io.ruleset import DRAFT, QUEUE_CHAIN, REASSEMBLY, SET_TYPES, TABLE, Diverted, draft, keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from lvsd.io.netlink import Message

__all__ = ["Divert", "Diverted", "native_queue", "refused", "xt_queue"]

OnCrash = Literal["drop", "bypass"]

_TABLE: Final = f"table inet {TABLE}"
_CHANGE: Final = f"change nftables {_TABLE}"
_BYPASS: Final = 1  # NFT_QUEUE_FLAG_BYPASS, NFQ_FLAG_BYPASS
XT_INFO: Final = struct.Struct("=HHHxx")  # struct xt_NFQ_info_v3: queue, total, flags
_START_S: Final = 30.0
"""How long nft may take, which may have the kernel load modules."""
_TRIES: Final = 20
"""How often the rules are compiled while others change the ruleset all the time."""
_UNKNOWN_FLAG: Final = {errno.EINVAL, errno.EOPNOTSUPP}
"""What a kernel older than 5.12 says of a table with an owner."""


class Divert:
    """Sends packets of virtual services to NFQUEUE number ``queue``.

    ``on_crash`` says what becomes of them while nobody reads the queue: "drop", or "bypass",
    which lets them through as if lvsd were not there. ``owned`` is for tests: False does as on a
    kernel that knows no owners.

    `prepare`, `up`, `update`, `mend` and `down` raise KernelError, or PrivilegeError without
    CAP_NET_ADMIN, and then have changed nothing. None but `prepare` waits for another program, and
    the first `up`, which prepares what is not prepared.
    """

    def __init__(self, queue: int, *, on_crash: OnCrash = "drop", owned: bool = True) -> None:
        self._queue = queue
        self._flags = _BYPASS if on_crash == "bypass" else 0
        self._owner = OWNED if owned else 0
        self._link: Link | None = None
        self._compiled: dict[str, Table] = {}
        """The tables without elements, once `prepare` has made room for them."""
        self._wanted: dict[str, Table] = {}
        self._keys: dict[str, set[bytes]] = {}
        """The elements of the sets; each table that is up has the same sets in it."""

    @property
    def is_owned(self) -> bool:
        """Whether the table is safe from others: they can neither flush nor change it."""
        return self._owner != 0

    @property
    def names(self) -> frozenset[str]:
        """The names of the tables that are up."""
        return frozenset(self._wanted)

    @property
    def port(self) -> int:
        """The netlink port that our own changes come from, 0 while nothing is up."""
        return self._link.port if self._link else 0

    def prepare(self) -> None:
        """Do what takes long of `up`: make our table, which meets no packet, and have rules for it.

        Harmless when done twice. `down` undoes it.
        """
        if self._link is not None:
            return
        with refused():
            link = Link(NETLINK_NETFILTER)
        try:
            with refused():
                link.widen()
                self._reserve(link)
            try:
                with refused():
                    self._compiled = self._compile(link)
            except BaseException:
                with suppress(OSError):
                    nf_tables.transact(link, nf_tables.gone(TABLE, self._owner))
                raise
        except BaseException:
            link.close()
            raise
        self._link = link

    def up(self, diverted: Diverted) -> None:
        """Start to divert. Packets are dropped until somebody reads the queue: open it first.

        A guard that an lvsd before left goes in the same moment.
        """
        self.prepare()
        self._keys = keys(diverted)
        try:
            self._put_up(self._compiled, instead_of=(GUARD, HOLD))
        except BaseException:
            with suppress(KernelError):
                self.down()
            raise

    def update(self, diverted: Diverted) -> None:
        """Divert other things from now on; flows that are in both never notice.

        Where somebody removed a table, or damaged it, it is put up again.
        """
        if self._link is None:
            self.up(diverted)
            return
        before, self._keys = self._keys, keys(diverted)
        try:
            self._change(before, self._keys)
        except BaseException:
            self._keys = before  # it is to be tried again
            raise

    def add(self, more: Diverted) -> None:
        """Divert other things besides: it costs what there is of them, not of all."""
        new = {name: found - self._keys.get(name, set()) for name, found in keys(more).items()}
        for name, found in new.items():
            self._keys.setdefault(name, set()).update(found)
        try:
            self._change({}, new)
        except BaseException:
            for name, found in new.items():
                self._keys[name] -= found
            raise

    def _change(
        self, before: Mapping[str, AbstractSet[bytes]], after: Mapping[str, AbstractSet[bytes]]
    ) -> None:
        """Turn elements that were there into others, in all tables; `_keys` has all by now."""
        if self._link is None:
            raise RuntimeError("up() comes first")
        messages = [
            each for table in self._wanted for each in nf_tables.changed(table, before, after)
        ]
        if not messages:
            return
        try:
            nf_tables.transact(self._link, messages)
        except OSError:
            self._put_up(self._wanted)
        else:
            self._wanted = self._with_elements(self._wanted)

    def mend(self) -> list[str]:
        """Put up again the tables that are not as they should be; return their names.

        A table with an owner is not looked at: only we can change it.
        """
        if self._link is None:
            return []
        with refused():
            damaged = {
                name: table
                for name, table in self._wanted.items()
                if not table.flags & OWNED and nf_tables.read(self._link, name) != table
            }
        if damaged:
            self._put_up(damaged)
        return list(damaged)

    def missing(self) -> list[str]:
        """Return the names of the tables that should stand and do not."""
        if self._link is None:
            return []
        with refused():
            return [name for name in self._wanted if not nf_tables.stands(self._link, name)]

    def down(self, hold_s: float = 0.0) -> bool:
        """Stop to divert. Harmless when nothing is up; packets in the queue keep their place.

        What was diverted is dropped for ``hold_s`` seconds from then on, if there is a guard;
        return whether that is so. After a failure it can be tried again.
        """
        if self._link is None:
            return False
        guard = self._wanted.get(GUARD) if hold_s else None
        with refused():
            flags = {TABLE: self._owner} | {name: each.flags for name, each in self._wanted.items()}
            gone = (nf_tables.gone(*each) for each in flags.items())
            messages = [message for each in gone for message in each]
            if guard is not None:
                messages += nf_tables.replaced(HOLD, hold_of(guard, hold_s))
            nf_tables.transact(self._link, messages)
        self._link.close()
        self._link, self._wanted = None, {}
        return guard is not None

    def _reserve(self, link: Link) -> None:
        """Make the table, still empty, so that there is one lvsd in this network namespace."""
        try:
            nf_tables.transact(link, [nf_tables.new_table(TABLE, self._owner)])
        except PermissionError as error:  # also what a table of another owner says
            if not nf_tables.stands(link, TABLE):
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        except OSError as error:
            if not self._owner or error.errno not in _UNKNOWN_FLAG:
                raise
            self._owner = 0
            nf_tables.transact(link, [nf_tables.new_table(TABLE, 0)])

    def _compile(self, link: Link) -> dict[str, Table]:
        """Return the tables, still without elements.

        Raise OSError, ENOENT if the kernel cannot queue packets to a program, or KernelError.
        """
        guarded = bool(self._owner) and not self._flags & _BYPASS
        try:
            for _ in range(_TRIES):
                before = nf_tables.generation(link)
                _have_nft_compile(guarded=guarded)
                try:
                    nf_tables.transact(link, [_queueing(native_queue(self._queue, self._flags))])
                except FileNotFoundError:  # no such expression, or somebody flushed the ruleset
                    with suppress(FileNotFoundError):
                        nf_tables.transact(link, [_queueing(xt_queue(self._queue, self._flags))])
                compiled = nf_tables.read(link, DRAFT)
                if nf_tables.generation(link) == before + 2:  # nobody else's change was between
                    break
        finally:
            nf_tables.transact(link, nf_tables.gone(DRAFT, 0))
        if compiled is None or QUEUE_CHAIN not in compiled.rules:
            raise FileNotFoundError(errno.ENOENT, "no rule that queues")
        tables = {TABLE: guarded_of(compiled, self._owner)}
        if guarded:
            tables[GUARD] = guard_of(compiled)
        return tables

    def _put_up(self, tables: dict[str, Table], instead_of: tuple[str, ...] = ()) -> None:
        """Put tables up, in place of what stands under their names, and of other tables."""
        tables = self._with_elements(tables)
        if self._link is None:
            raise RuntimeError("up() comes first")
        with refused():
            nf_tables.transact(
                self._link,
                [
                    *(each for name in instead_of for each in nf_tables.gone(name, 0)),
                    *(
                        each
                        for name, table in tables.items()
                        for each in nf_tables.replaced(name, table)
                    ),
                ],
            )
        self._wanted = {**self._wanted, **tables}

    def _with_elements(self, tables: dict[str, Table]) -> dict[str, Table]:
        """Return tables with what their sets have to hold now."""
        return {
            name: replace(table, elements={**_constant(table), **self._keys})
            for name, table in tables.items()
        }


@contextmanager
def refused() -> Iterator[None]:
    """Turn what the kernel refuses in the block into KernelError, or PrivilegeError."""
    try:
        yield
    except OSError as error:
        raise _refusal(error) from error


def native_queue(queue: int, flags: int) -> bytes:
    """Return the nft expression ``queue`` (enum nft_queue_attributes)."""
    return expression("queue", be16(1, queue), be16(2, 1), be16(3, flags))


def xt_queue(queue: int, flags: int) -> bytes:
    """Return iptables' target NFQUEUE, revision 3, as an nft expression (nft_compat)."""
    info = XT_INFO.pack(queue, 1, flags)
    return expression("target", string(1, "NFQUEUE"), be32(2, 3), attribute(3, info))


def _queueing(expression: bytes) -> Message:
    return nf_tables.new_rule(DRAFT, QUEUE_CHAIN, nf_tables.rule(expression))


def _constant(table: Table) -> dict[str, AbstractSet[bytes]]:
    """Return the sets of a table that no change of what is diverted changes."""
    return {name: found for name, found in table.elements.items() if name not in SET_TYPES}


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


def _refusal(error: OSError) -> KernelError:
    """Return the error that tells an operator what the kernel's errno means here."""
    operation = f"nftables {_TABLE}"
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root or with CAP_NET_ADMIN")
    if error.errno == errno.EEXIST:
        return KernelError(
            operation,
            "it is there already",
            "stop the other lvsd in this network namespace; if it was killed, run `lvsd cleanup`",
        )
    if error.errno == errno.ENOENT:
        return KernelError(
            operation,
            "this kernel cannot queue packets to a program",
            "it needs CONFIG_NFT_QUEUE, or NETFILTER_XT_TARGET_NFQUEUE with NFT_COMPAT",
        )
    return KernelError(
        operation,
        error,
        "the kernel must have nf_tables: `modprobe nf_tables`, CONFIG_NF_TABLES_INET",
    )
