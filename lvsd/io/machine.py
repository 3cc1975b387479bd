"""Change the machine, remember what was there before, and put it back.

Every change is written to a journal, and the journal to the disk, *before* the change is made.
So what a killed daemon left can be put back by `cleanup`, or taken over by the next daemon; a
crash at any instruction leaves at worst a note about a change that was never made.

Nothing is put back that is not as we left it: whoever changed it since meant it.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from lvsd.errors import KernelError
from lvsd.io import nft, refusals, sysctls
from lvsd.io.guard import GUARD, HOLD
from lvsd.io.journal import (
    AddressChange,
    Journal,
    LinkChange,
    SysctlChange,
    TableChange,
    journal_path,
    remove,
)
from lvsd.io.leftovers import is_ours, queue_of_table, remove_leftovers, standing, table_stands
from lvsd.io.queue_statistics import program_of, queues
from lvsd.io.undo import Unfinished, addresses_of, undo
from lvsd.net import addresses
from lvsd.net import links as interfaces
from lvsd.net.kernel import talking
from lvsd.net.local_routes import wait_until_local
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from lvsd.io.queue_statistics import QueueStatistics
    from lvsd.net.kernel import Kernel

__all__ = ["Machine", "Unfinished", "cleanup", "journal_path", "put_back", "take_over"]

Place: TypeAlias = tuple[str, bytes]
"""An interface's name and a packed address."""

_AT_ONCE: Final = 64
"""Addresses that are put on interfaces in one go: a stop is heeded in between."""

_START: Final = "start in this network namespace"

_Change = TypeVar("_Change", LinkChange, TableChange)


class Machine:
    """What we want of this network namespace until `restore`: sysctls, addresses, links, tables.

    ``journal`` is the file, see `journal_path`. A journal whose writer is dead is taken over.
    ``settings`` are kept in it for whoever comes after; None leaves those that are there.
    ``is_own``: this very process has written it, and goes on with it by another program. Raise
    KernelError when its writer lives, or when it cannot be written.
    """

    def __init__(
        self, journal: Path, settings: dict[str, object] | None = None, *, is_own: bool = False
    ) -> None:
        self._path = journal
        self._journal = Journal.of_this_process()
        if left := Journal.read(journal):
            if not is_own:
                _refuse_if_alive(left, _START)
            self._journal.sysctls, self._journal.addresses = left.sysctls, left.addresses
            self._journal.links, self._journal.settings = left.links, left.settings
            self._journal.tables = left.tables
        if settings is not None:
            self._journal.settings = settings
        if not is_own or left is None:  # else a full disk would end what runs
            self._save()

    def set_sysctl(self, name: str, value: int | str) -> None:
        """Set a sysctl, named as for sysctl(8). Raise KernelError or PrivilegeError."""
        try:
            self._set([name], str(value))
        except OSError as error:
            raise refusals.refusal(f"set sysctl {name} = {value}", error) from error

    def forward(self, family: int) -> None:
        """Have the kernel forward packets of IP version ``family``, 4 or 6.

        A host that begins to forward IPv6 drops its routes from router advertisements and takes
        no more of them, its default route included, save where accept_ra is 2. So that goes to 2
        first, wherever advertisements are accepted now. Raise KernelError, also when the kernel
        is without IPv6, or PrivilegeError.
        """
        name = sysctls.FORWARDING[family]
        if not sysctls.exists(name):
            remedy = f"leave out the IPv{family} services, or boot a kernel that has it enabled"
            raise KernelError(f"forward IPv{family}", "this kernel is without it", remedy)
        try:
            if family == 6 and sysctls.read(name) != "1":
                self._set(sysctls.deaf_once_forwarding(), sysctls.ACCEPT_RA_OF_ROUTERS)
        except OSError as error:
            raise refusals.refusal("set accept_ra = 2", error) from error
        self.set_sysctl(name, 1)

    def add_address(self, interface: str, address: bytes) -> None:
        """Put an address on an interface as /32 or /128, unless it is on it already.

        One that was there before stays at `restore`. IPv6 skips duplicate address detection, so
        that it can be used at once; where the interface is up, packets to it are taken when this
        returns. Raise KernelError, with ``errno`` ENODEV without the interface, or PrivilegeError.
        """
        self.add_addresses([(interface, address)])

    def add_addresses(
        self,
        wanted: Collection[Place],
        before_some: Callable[[], None] = lambda: None,
    ) -> None:
        """Do so with many. Raise KernelError for the first that is refused, the others being there.

        ``before_some`` is called now and then, and may raise what ends it in between.
        """
        for refusal in self.put_addresses(wanted, before_some).values():
            raise refusal
        if late := [place for place in wanted if len(place[1]) == 16]:
            with talking() as kernel:
                up = {link.name for link in interfaces.every(kernel) if link.is_up}
                wait_until_local(kernel, [address for name, address in late if name in up])

    def put_addresses(
        self, wanted: Collection[Place], before_some: Callable[[], None] = lambda: None
    ) -> dict[Place, KernelError]:
        """Put addresses on interfaces; return those that could not be put there, and why.

        All are in the journal, with one write, before the first is put there. Packets to those of
        IPv6 are taken a moment later. Raise KernelError or PrivilegeError when nothing can be done
        at all.
        """
        with talking() as kernel:
            refused, todo = self._note_addresses(kernel, wanted)
            never_made = {id(each.change) for each in todo if each.change is not None}
            try:
                for at in range(0, len(todo), _AT_ONCE):
                    before_some()
                    some = todo[at : at + _AT_ONCE]
                    requests = [addresses.adding(each.interface, each.place[1]) for each in some]
                    never_made -= {id(each.change) for each in some}
                    for each, refusal in zip(some, kernel.attempt(requests), strict=True):
                        if refusal is not None and not each.may_be_there(refusal):
                            number = refusal.errno or errno.EIO
                            refused[each.place] = refusals.of_address(*each.place, number)
                            never_made.add(id(each.change))
            finally:
                if never_made:
                    self._journal.addresses = [
                        each for each in self._journal.addresses if id(each) not in never_made
                    ]
                    with suppress(KernelError):  # a note about what was never made does no harm
                        self._save()
        return refused

    def _note_addresses(
        self, kernel: Kernel, wanted: Collection[Place]
    ) -> tuple[dict[Place, KernelError], list[_ToPut]]:
        """Return for which the interface is missing, and those to put there, in the journal."""
        there = {(each.interface, each.address) for each in addresses.every(kernel)}
        indexes = {link.name: link.index for link in interfaces.every(kernel)}
        known = {(each.interface, each.address): each for each in self._journal.addresses}
        refused, todo = {}, []
        for place in dict.fromkeys(wanted):
            interface, address = place
            index, ours = indexes.get(interface), known.get((interface, text(address)))
            if index is None:
                refused[place] = refusals.of_address(*place, errno.ENODEV)
            elif ours is not None:
                ours.index = index  # the interface may have been made anew
                todo.append(_ToPut(place, index, None))
            elif (index, address) not in there:
                change = AddressChange(interface, text(address), index)
                todo.append(_ToPut(place, index, change))
        if new := [each.change for each in todo if each.change is not None]:
            self._journal.addresses += new
            self._save()
        return refused, todo

    def take_addresses(self, places: Collection[Place]) -> list[str]:
        """Take those addresses off that were put there by us; say so line by line, as `undo` does.

        Raise KernelError or PrivilegeError when the journal cannot be written.
        """
        known = self._journal.addresses
        ours = [each for each in known if (each.interface, pack(each.address)) in places]
        lines: list[str] = []
        stay = addresses_of(ours, lines)
        gone = {id(each) for each in ours} - {id(each) for each in stay}
        self._journal.addresses = [each for each in known if id(each) not in gone]
        if gone:
            self._save()
        return lines

    def add_link(self, name: str, kind: str, data: Sequence[tuple[str, Any]] = ()) -> None:
        """Make an interface, see `lvsd.net.links.adding`, unless there is one of that kind there.

        It is left down. Raise KernelError, with ``errno`` EOPNOTSUPP when the kernel has no such
        kind, or PrivilegeError.
        """
        with talking() as kernel:
            there = interfaces.find(kernel, name)
            if there is not None and there.kind == kind:
                return
            with self._noted(self._journal.links, LinkChange(name, kind)):
                kernel.do(interfaces.adding(name, kind, data))

    def raise_link(self, name: str, kind: str) -> bool:
        """Bring an interface up that is there already; return False if it is of another kind.

        One that was up before stays so at `restore`. Raise KernelError or PrivilegeError.
        """
        with talking() as kernel:
            there = interfaces.find(kernel, name)
            if there is None or there.kind != kind:
                return False
            if not there.is_up:
                with self._noted(self._journal.links, LinkChange(name, kind, made=False)):
                    kernel.do(interfaces.changing(there.index, up=True))
        return True

    def replace_table(self, name: str, commands: Sequence[str]) -> None:
        """Make the nftables table inet ``name``, in place of one of that name: see `nft.replace`.

        The name begins with ``lvsd_``, and at `restore` the table goes, whoever made it first.
        Raise KernelError, and then nothing has changed, or PrivilegeError.
        """
        with self._noted(self._journal.tables, TableChange(name)):
            nft.replace(name, commands)

    @property
    def is_as_it_was(self) -> bool:
        """Whether nothing is left to put back."""
        return self._journal.is_empty

    def undo(self) -> list[str]:
        """Put everything back, latest change first, and say so line by line.

        A change that cannot be undone gets a line that says so, and the journal keeps it. The
        journal stays, also with nothing in it: as long as it is there, `cleanup` and the next
        daemon see that something may be left.
        """
        lines, self._journal = undo(self._journal, self._path, keep=True)
        return lines

    def restore(self) -> list[str]:
        """Do as `undo` does, for the last time: a journal with nothing left in it is removed.

        A second call has only those changes to undo that could not be undone. Where the journal
        cannot be removed a line says so.
        """
        lines, self._journal = undo(self._journal, self._path)
        return lines

    def _set(self, names: Iterable[str], wanted: str) -> None:
        """Set sysctls to one value, all of them in the journal before the first is set."""
        changes = {change.name: change for change in self._journal.sysctls}
        todo = []
        for name in names:
            current, change = sysctls.read(name), changes.get(name)
            if current == wanted and (change is None or change.ours == wanted):
                continue
            if change is None:
                change = SysctlChange(name, current, wanted, sysctls.followers(name))
                self._journal.sysctls.append(change)
            change.ours = wanted
            todo.append(name)
        if todo:
            self._save()
        for name in todo:
            with suppress(FileNotFoundError):  # it was there just now: its interface went away
                sysctls.write(name, wanted)

    @contextmanager
    def _noted(self, changes: list[_Change], change: _Change) -> Iterator[None]:
        """Have a change in the journal before the block makes it, and not when the block fails."""
        known = change in changes
        try:
            if not known:
                changes.append(change)
                self._save()
            yield
        except (OSError, KernelError):
            if not known:
                changes.remove(change)
                with suppress(KernelError):  # a note about what was never made does no harm
                    self._save()
            raise

    def _save(self) -> None:
        self._journal.write(self._path)


class _ToPut(NamedTuple):
    """An address to put on the interface of an index."""

    place: Place
    interface: int
    change: AddressChange | None
    """Its note in the journal; None if that was there before: then the address may be there."""

    def may_be_there(self, refusal: KernelError) -> bool:
        """Whether the address was refused as it is there, as it may be."""
        return refusal.errno == errno.EEXIST and self.change is None


def put_back(journal: Path) -> list[str]:
    """Put back what a journal says whose writer is gone, and say so line by line.

    An empty list: there was nothing. Raise KernelError when the writer lives.
    """
    left = Journal.read(journal)
    if left is None:
        remove(journal)
        return []
    _refuse_if_alive(left, "put back what lvsd changed")
    return undo(left, journal)[0]


def cleanup(journal: Path) -> list[str]:
    """Remove what a killed daemon left: its nftables table, addresses, sysctls. Say what.

    An empty list: there was nothing. Raise KernelError when the daemon that wrote the journal
    still lives, or when the table may be that of a living one; or when the kernel refuses.
    """
    left = Journal.read(journal)
    if left:
        _refuse_if_alive(left, "clean up")
    if table_stands() and (reader := reader_of_table()):
        raise KernelError(
            "remove nftables table inet lvsd",
            f"NFQUEUE {reader.queue} is read by netlink port {reader.port}"
            f"{program_of(reader.port)}",
            "if that is lvsd, stop it; if not, run `nft delete table inet lvsd`",
        )
    return _clear(left, journal)


def take_over(journal: Path) -> list[str]:
    """Do as `cleanup` does, for a daemon that starts; but a table that may be in use stays.

    So does one of that name that no lvsd made: who puts up a table of our own finds it taken. What
    keeps packets from this host's own stack stays until they are diverted (`Divert.up`).
    Raise KernelError, PrivilegeError.
    """
    left = Journal.read(journal)
    if left:
        _refuse_if_alive(left, _START)
    if table_stands() and (not is_ours() or reader_of_table()):
        return undo(left, journal)[0] if left else []
    return _clear(left, journal, but=(GUARD, HOLD))


def _clear(left: Journal | None, journal: Path, but: tuple[str, ...] = ()) -> list[str]:
    """Remove the tables, then undo what the journal says; the journal goes last."""
    found = standing()
    removed = remove_leftovers(but)
    lines = [f"removed nftables table inet {name}" for name in removed]
    lines += [f"took over nftables table inet {GUARD}"] if GUARD in found and GUARD in but else []
    if left:
        return lines + undo(left, journal)[0]
    remove(journal)
    if set(found) - {HOLD}:
        lines.append(
            f"no journal in {journal.parent}: sysctls and addresses were not put back; "
            "if `control` is in another directory, clean up once more with -c FILE"
        )
    return lines


def reader_of_table() -> QueueStatistics | None:
    """Return who reads the queue that the table leads to: then its lvsd may live.

    Where the table does not say which queue, whoever reads any. Raise KernelError.
    """
    number = queue_of_table()
    return next((each for each in queues() if number in {None, each.queue}), None)


def _refuse_if_alive(journal: Journal, operation: str) -> None:
    if journal.writer_lives():
        raise KernelError(
            operation,
            f"lvsd runs in this network namespace, pid {journal.pid}",
            f"stop it first, such as by `kill {journal.pid}`",
        )
