"""Undo the changes that a journal names, latest first.

Nothing is put back that is not as we left it: whoever changed it since meant it.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lvsd.core import host_ports
from lvsd.errors import KernelError
from lvsd.io import nft, sysctls
from lvsd.io.journal import AddressChange, LinkChange, SysctlChange, TableChange, remove
from lvsd.net import addresses, links
from lvsd.net.kernel import talking
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvsd.io.journal import Journal

Change: TypeAlias = AddressChange | LinkChange | TableChange | SysctlChange
_Change = TypeVar("_Change", LinkChange, TableChange, SysctlChange)


class Unfinished(str):
    """A line about what could not be put back, among those about what was."""

    __slots__ = ()


def undo(journal: Journal, path: Path, *, keep: bool = False) -> tuple[list[str], Journal]:
    """Undo every change of a journal; return what was done, and what could not be.

    The file then holds what could not be undone. Without any it is removed, unless it is to
    ``keep``. Where it can be neither written nor removed it stays as it was, which a line says:
    to undo what is undone does no harm. What could not be done is said by `Unfinished` lines.
    """
    lines: list[str] = []
    kept = replace(
        journal,
        links=_each(journal.links, _undo_link, lines),
        addresses=addresses_of(journal.addresses, lines),
        tables=_each(journal.tables, _undo_table, lines),
        sysctls=_each(journal.sysctls, _undo_sysctl, lines),
    )
    try:
        if kept.is_empty and not keep:
            remove(path)
        else:
            kept.write(path)
    except KernelError as error:
        lines.append(Unfinished(f"the journal stays as it was: {error}"))
    return lines, kept


def _each(
    changes: list[_Change], act: Callable[[_Change], list[str]], lines: list[str]
) -> list[_Change]:
    """Undo changes, latest first, and return those that could not be; say so in ``lines``."""
    kept: list[_Change] = []
    for change in reversed(changes):
        try:
            lines += act(change)
        except (OSError, KernelError, MemoryError) as error:
            lines.append(Unfinished(f"{_stays(change)}: {_reason(error)}"))
            kept.insert(0, change)
    return kept


def _stays(change: Change) -> str:
    match change:
        case AddressChange():
            return f"{change.address} stays on {change.interface}"
        case LinkChange():
            return f"interface {change.name} stays"
        case TableChange():
            return f"nftables table inet {change.name} stays"
        case SysctlChange():
            return f"{change.name} stays {change.ours}"


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _undo_link(change: LinkChange) -> list[str]:
    with talking() as kernel:
        there = links.find(kernel, change.name)
        if there is None or there.kind != change.kind:
            return []
        if change.made:
            kernel.do(links.deleting(there.index))
            return [f"removed interface {change.name}"]
        kernel.do(links.changing(there.index, up=False))
        return [f"took interface {change.name} down"]


def addresses_of(changes: list[AddressChange], lines: list[str]) -> list[AddressChange]:
    """Take addresses off their interfaces, all in one go; return those that stay.

    ``lines`` gets a line for each.

    One that is gone, with or without its interface, needs nothing. An interface that has another
    name by now still has the address, and its index.
    """
    if not changes:
        return []
    try:
        with talking() as kernel:
            names = {link.index: link.name for link in links.every(kernel)}
            asked = [
                (change, index)
                for change in reversed(changes)
                for index in names
                if change.interface == names[index] or change.index == index
            ]
            requests = [addresses.deleting(index, pack(each.address)) for each, index in asked]
            refusals = kernel.attempt(requests)
    except (OSError, KernelError, MemoryError) as error:
        why = _reason(error)
        lines += [Unfinished(f"{_stays(change)}: {why}") for change in reversed(changes)]
        return changes
    kept: list[AddressChange] = []
    for (change, index), refusal in zip(asked, refusals, strict=True):
        if refusal is None:
            lines.append(f"removed {change.address} from {names[index]}")
        elif refusal.errno not in {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL}:
            lines.append(Unfinished(f"{_stays(change)}: {_reason(refusal)}"))
            kept.insert(0, change)
    return kept


def _undo_table(change: TableChange) -> list[str]:
    """Remove a table, whatever it holds by now: its name says that it is ours."""
    return [f"removed nftables table inet {change.name}"] if nft.delete(change.name) else []


def _undo_sysctl(change: SysctlChange) -> list[str]:
    """Set a sysctl and its followers back, unless somebody else has set it since."""
    try:
        current = sysctls.read(change.name)
    except FileNotFoundError:
        return []
    if current == change.before:
        return []
    if current != change.ours:
        if change.name == sysctls.RESERVED_PORTS:
            return _give_up_ports(change, current)
        return [f"{change.name} is {current}, not {change.ours} as lvsd set it: left alone"]
    sysctls.write(change.name, change.before)
    for name, before in change.followers.items():
        if sysctls.exists(name) and sysctls.read(name) != before:
            sysctls.write(name, before)
    return [f"set {change.name} back to {change.before or 'nothing'}"]


def _give_up_ports(change: SysctlChange, current: str) -> list[str]:
    """Take the ports that we reserved out of a list that somebody else has changed since."""
    before, ours, now = map(host_ports.parse, (change.before, change.ours, current))
    left = host_ports.write(host_ports.without(now, host_ports.without(ours, before)))
    if left == current:
        return []
    sysctls.write(change.name, left)
    return [f"set {change.name} to {left or 'nothing'}: somebody else had changed it meanwhile"]
