"""Divert the packets of virtual services, and their replies, into NFQUEUE.

All of it is one nftables table of our own, ``inet lvsd``, and its guard (`lvsd.io.guard`); nothing
else of the machine's ruleset is read or written. nft compiles the rules once, in a table that is
dormant (`lvsd.io.compiling`); from then on everything goes by netlink (`lvsd.io.nf_tables`), each
time in one transaction, so that packets meet all or nothing: both tables when they go up, other
elements of their sets while they stand, no tables any more when they go down.

What is diverted goes on from one lvsd to the next that is in its place (`lvsd upgrade`), by the
socket that the table ends with: `Divert.go_on`.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import nf_tables
from lvsd.io.compiling import BYPASS, compiled
from lvsd.io.guard import GUARD, HOLD, hold_of
from lvsd.io.netlink import NETLINK_NETFILTER, Link
from lvsd.io.nf_tables import OWNED, Table
from lvsd.io.ruleset import QUEUE_CHAIN, SET_TYPES, TABLE, Diverted, keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet


__all__ = ["Divert", "Diverted", "refused"]

OnCrash = Literal["drop", "bypass"]

_TABLE: Final = f"table inet {TABLE}"
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
        self._flags = BYPASS if on_crash == "bypass" else 0
        self._owner = OWNED if owned else 0
        self._link: Link | None = None
        self._compiled: dict[str, Table] = {}
        """The tables without elements, once `prepare` has made room for them."""
        self._wanted: dict[str, Table] = {}
        self._keys: dict[str, set[bytes]] = {}
        """The elements of the sets; each table that is up has the same sets in it."""
        self._is_inherited = False
        """What stands is of the lvsd before this one, and leads to its queue."""

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

    @property
    def descriptor(self) -> int:
        """The socket that the table ends with, -1 while nothing is up."""
        return self._link.descriptor if self._link else -1

    def go_on(self, descriptor: int) -> None:
        """Take over what an lvsd before diverts, by the socket that its table ends with.

        `prepare` and `up` are to follow, and turn that to our queue; `down` ends it.
        """
        with refused():
            self._link = link = Link(NETLINK_NETFILTER, descriptor)
            link.widen()
            found = {name: nf_tables.read(link, name) for name in (TABLE, GUARD)}
        self._wanted = {name: table for name, table in found.items() if table is not None}
        self._owner = self._wanted[TABLE].flags & OWNED if TABLE in self._wanted else self._owner
        self._is_inherited = True

    def prepare(self) -> None:
        """Do what takes long of `up`: make our table, which meets no packet, and have rules for it.

        Harmless when done twice. `down` undoes it.
        """
        if self._link is not None:
            if not self._compiled:
                with refused():
                    self._compiled = self._compile_by(self._link)
            return
        with refused():
            link = Link(NETLINK_NETFILTER)
        try:
            with refused():
                link.widen()
                self._reserve(link)
            try:
                with refused():
                    self._compiled = self._compile_by(link)
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
        if self._is_inherited:
            self._turn()
            return
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

    def _turn(self) -> None:
        """Let what stands lead to our queue, with what we divert; packets meet either.

        Where the rules are ours but for the one that queues, that one is replaced, and packets
        that wait keep their place. Rules of another version are replaced with their hooks: then
        those that wait are lost, and sent again.
        """
        if self._link is None:
            raise RuntimeError("go_on() comes first")
        wanted, standing = self._with_elements(self._compiled), self._wanted
        is_alike = {name: _but_queue(name, each) for name, each in standing.items()} == {
            name: _but_queue(name, each) for name, each in wanted.items()
        }
        if is_alike:
            messages = [
                *(
                    each
                    for name, table in standing.items()
                    for each in nf_tables.changed(name, _variable(table), self._keys)
                ),
                *nf_tables.refilled(TABLE, QUEUE_CHAIN, wanted[TABLE].rules[QUEUE_CHAIN]),
            ]
            with refused():
                nf_tables.transact(self._link, messages)
            self._wanted = wanted
        else:
            self._wanted = {}
            self._put_up(self._compiled, tuple(standing.keys() - wanted.keys()))
        self._is_inherited = False

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
        self._link, self._wanted, self._compiled, self._is_inherited = None, {}, {}, False
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

    def _compile_by(self, link: Link) -> dict[str, Table]:
        guarded = bool(self._owner) and not self._flags & BYPASS
        return compiled(link, self._queue, self._flags, guarded=guarded, owner=self._owner)

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


def _constant(table: Table) -> dict[str, AbstractSet[bytes]]:
    """Return the sets of a table that no change of what is diverted changes."""
    return {name: found for name, found in table.elements.items() if name not in SET_TYPES}


def _variable(table: Table) -> dict[str, AbstractSet[bytes]]:
    """Return the sets of a table that say what is diverted."""
    return {name: found for name, found in table.elements.items() if name in SET_TYPES}


def _but_queue(name: str, table: Table) -> Table:
    """Return a table without what is diverted, and without the rule that queues."""
    rules = dict(table.rules)
    if name == TABLE:
        rules.pop(QUEUE_CHAIN, None)
    return replace(table, rules=rules, elements=_constant(table))


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
