"""The file that remembers what lvsd changed on the machine, and whether its writer still lives.

Root carries out what a journal says, so one is believed only when nobody but root, or the user
that lvsd runs as, can have written it: neither the file nor its directory is another's or open
to all, and the file is no symbolic link.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import socket
import stat
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import sysctls
from lvsd.io.private_files import (
    UntrustedDirectoryError,
    UntrustedError,
    draft_of,
    foreign,
    trusted,
    write_whole,
)
from lvsd.packet.address import pack

_SO_NETNS_COOKIE: Final = 71
_U64: Final = struct.Struct("=Q")
_MAX_BYTES: Final = 16 << 20

OUR_LINKS: Final = "lvsd-"
_OUR_TABLE: Final = re.compile(r"lvsd_[a-z_]+")
_WHERE: Final = "daemon.control; of a real server, --state"


@dataclass(slots=True)
class SysctlChange:
    """A sysctl that we set: its value before, ours, and what the kernel set along with it."""

    name: str
    before: str
    ours: str
    followers: dict[str, str] = field(default_factory=dict)
    """Name -> value before, of the sysctls that follow this one."""


@dataclass(slots=True)
class AddressChange:
    """An address (text) that we put on an interface."""

    interface: str
    address: str
    index: int = field(default=0, compare=False)
    """The interface's, by which it is found under another name; 0: not known."""


@dataclass(slots=True)
class LinkChange:
    """A network interface that we made, or only brought up."""

    name: str
    kind: str
    """As ``ip link add type`` names it: one of that name but of another kind is not ours."""
    made: bool = True
    """We made it; its name then begins with `OUR_LINKS`."""


@dataclass(slots=True)
class TableChange:
    """An nftables table of the family inet that we made; its name begins with ``lvsd_``."""

    name: str


@dataclass(slots=True)
class Journal:
    """Who changed what in which network namespace, oldest first."""

    pid: int
    started: int
    """Start of the process in clock ticks since boot: a pid alone may be somebody else's now."""
    namespace: str
    """Boot and network namespace, see `this_namespace`: what was changed is gone with either."""
    sysctls: list[SysctlChange] = field(default_factory=list)
    addresses: list[AddressChange] = field(default_factory=list)
    links: list[LinkChange] = field(default_factory=list)
    tables: list[TableChange] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    """What the writer was told to do, in its own words, for whoever comes after it."""

    @property
    def is_empty(self) -> bool:
        """Whether it names no change."""
        return not (self.sysctls or self.addresses or self.links or self.tables)

    @classmethod
    def of_this_process(cls) -> Journal:
        """Return an empty journal that this process writes, about the namespace it is in."""
        pid = os.getpid()
        return cls(pid, _start_time(pid) or 0, this_namespace())

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Return what the file says; None without one, or one about another boot or namespace.

        Raise KernelError when it is unreadable or not to be trusted, PrivilegeError without
        rights.
        """
        operation = f"read the journal {path}"
        try:
            with trusted(path.parent) as directory:
                journal = _parse(_load(directory, path.name))
        except FileNotFoundError:
            return None
        except UntrustedError as error:
            raise _distrust(operation, path, error) from error
        except OSError as error:
            raise _refusal(operation, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise KernelError(
                operation,
                f"it lacks {error}" if isinstance(error, KeyError) else str(error),
                "look into it, put back by hand what it names, and remove it",
            ) from error
        return journal if journal.namespace == this_namespace() else None

    def write(self, path: Path) -> None:
        """Put the journal on the disk, whole or not at all. Raise KernelError, PrivilegeError."""
        operation = f"write the journal {path}"
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with trusted(path.parent) as directory:
                write_whole(directory, path.name, json.dumps(asdict(self), indent=1).encode())
        except UntrustedError as error:
            raise _distrust(operation, path, error) from error
        except OSError as error:
            raise _refusal(operation, error) from error

    def writer_lives(self) -> bool:
        """Return whether the process that wrote this is still running."""
        return _start_time(self.pid) == self.started


def remove(path: Path) -> None:
    """Remove a journal, and what a killed lvsd began to write of it; harmless without any.

    Raise KernelError, PrivilegeError.
    """
    try:
        for each in (path.with_name(draft_of(path.name)), path):
            if os.path.lexists(each):  # a read-only file system refuses even what is not there
                each.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(f"remove the journal {path}", error) from error


def journal_path(directory: Path) -> Path:
    """Return where the journal of this network namespace lies, by the namespace's cookie."""
    return directory / f"journal-{namespace_cookie()}.json"


def this_namespace() -> str:
    """Return what tells this boot and network namespace from any other there ever was."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{namespace_cookie()}"


def namespace_cookie() -> str:
    """Return what no other network namespace of this boot has, nor had before.

    Before Linux 5.14 only the inode can be had, which the next namespace may get again. Raise
    OSError without descriptors: the journal would be looked for in another place.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            value = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _U64.size)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return f"inode-{Path('/proc/thread-self/ns/net').stat().st_ino}"
    return str(_U64.unpack(value)[0])


def _load(directory: int, name: str) -> object:
    """Return the JSON in a file that only root or we write to.

    Raise OSError, UntrustedError, ValueError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedError("it is a symbolic link") from error
        raise
    with open(descriptor, encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedError("it is no file")
        if fault := foreign(found, stat.S_IWGRP | stat.S_IWOTH):
            raise UntrustedError(f"it {fault}")
        return json.loads(file.read(_MAX_BYTES))


def _parse(content: object) -> Journal:
    """Return the journal that JSON describes. Raise KeyError, TypeError, ValueError."""
    if not isinstance(content, dict):
        raise TypeError("it holds no JSON object")
    journal = Journal(
        int(content["pid"]),
        int(content["started"]),
        str(content["namespace"]),
        [SysctlChange(**change) for change in content["sysctls"]],
        [AddressChange(**change) for change in content["addresses"]],
        [LinkChange(**change) for change in content.get("links", [])],
        [TableChange(**change) for change in content.get("tables", [])],
        dict(content.get("settings", {})),
    )
    for sysctl in journal.sysctls:
        for name in (sysctl.name, *sysctl.followers):
            sysctls.check(name)
    for address in journal.addresses:
        pack(address.address)
    for link in journal.links:
        if link.made and not link.name.startswith(OUR_LINKS):
            raise ValueError(f'"{link.name}" is no interface that lvsd makes')
    for table in journal.tables:
        if not _OUR_TABLE.fullmatch(table.name):
            raise ValueError(f'"{table.name}" is no table that lvsd makes')
    return journal


def _distrust(operation: str, path: Path, error: UntrustedError) -> KernelError:
    if not isinstance(error, UntrustedDirectoryError):
        return KernelError(operation, str(error), "see who put it there")
    rights = shlex.quote(str(path.parent))
    remedy = f"`chown root {rights}` and `chmod go-w {rights}`, or name another one ({_WHERE})"
    return KernelError(operation, str(error), remedy)


def _refusal(operation: str, error: OSError) -> KernelError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root, or as the user who started it")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return KernelError(operation, error, f"name a directory for it ({_WHERE})")
    if error.errno == errno.EROFS:
        return KernelError(operation, error, f"name a directory that can be written ({_WHERE})")
    return KernelError(operation, error, "see whether its directory can be written")


def _start_time(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None when it is no more (proc(5))."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat_line.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])
