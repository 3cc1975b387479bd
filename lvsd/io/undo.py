"""Undo the changes that a journal names, latest first.

Nothing is put back that is not as we left it: whoever changed it since meant it.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.io import addresses, links, nft, sysctls
from lvsd.io.journal import remove
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.io.journal import AddressChange, Journal, LinkChange, SysctlChange, TableChange


def undo(journal: Journal, path: Path) -> tuple[list[str], Journal]:
    """Undo every change of a journal; return what was done, and what could not be.

    The file is removed, or holds what could not be undone.
    """
    lines: list[str] = []
    kept = replace(journal, sysctls=[], addresses=[], links=[], tables=[])
    for link in reversed(journal.links):
        try:
            lines += _undo_link(link)
        except OSError as error:
            lines.append(f"interface {link.name} stays: {error.strerror}")
            kept.links.insert(0, link)
    for address in reversed(journal.addresses):
        try:
            lines += _undo_address(address)
        except OSError as error:
            lines.append(f"{address.address} stays on {address.interface}: {error.strerror}")
            kept.addresses.insert(0, address)
    for table in reversed(journal.tables):
        try:
            lines += _undo_table(table)
        except KernelError as error:
            lines.append(f"nftables table inet {table.name} stays: {error}")
            kept.tables.insert(0, table)
    for sysctl in reversed(journal.sysctls):
        try:
            lines += _undo_sysctl(sysctl)
        except OSError as error:
            lines.append(f"{sysctl.name} stays {sysctl.ours}: {error.strerror}")
            kept.sysctls.insert(0, sysctl)
    if kept.addresses or kept.sysctls or kept.links or kept.tables:
        kept.write(path)
    else:
        remove(path)
    return lines, kept


def _undo_link(change: LinkChange) -> list[str]:
    if links.kind_of(change.name) != change.kind:
        return []
    if change.made:
        links.delete(change.name)
        return [f"removed interface {change.name}"]
    links.take_down(change.name)
    return [f"took interface {change.name} down"]


def _undo_address(change: AddressChange) -> list[str]:
    """Take an address off its interface; one that is gone, with or without it, needs nothing."""
    try:
        addresses.delete(change.interface, pack(change.address))
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL}:
            return []
        raise
    return [f"removed {change.address} from {change.interface}"]


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
        return [f"{change.name} is {current}, not {change.ours} as lvsd set it: left alone"]
    sysctls.write(change.name, change.before)
    for name, before in change.followers.items():
        if sysctls.exists(name) and sysctls.read(name) != before:
            sysctls.write(name, before)
    return [f"set {change.name} back to {change.before}"]
