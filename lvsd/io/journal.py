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
import socket
import stat
import struct
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import sysctls
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            with _trusted(path.parent) as directory:
                journal = _parse(_load(directory, path.name))
        except FileNotFoundError:
            return None
        except _UntrustedError as error:
            raise KernelError(operation, str(error), "see who put it there") from error
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
        draft = path.with_suffix(".new").name
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with _trusted(path.parent) as directory:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=directory)
                try:
                    self._write_to(draft, directory)
                    os.replace(draft, path.name, src_dir_fd=directory, dst_dir_fd=directory)
                except OSError:
                    with suppress(OSError):
                        os.unlink(draft, dir_fd=directory)
                    raise
                os.fsync(directory)
        except _UntrustedError as error:
            remedy = f"keep it in a directory that is root's alone ({_WHERE})"
            raise KernelError(operation, str(error), remedy) from error
        except OSError as error:
            raise _refusal(operation, error) from error

    def _write_to(self, name: str, directory: int) -> None:
        """Write a new file of this name, and see that it is on the disk. Raise OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=directory), "w") as file:  # noqa: PTH123 - same reason
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    def writer_lives(self) -> bool:
        """Return whether the process that wrote this is still running."""
        return _start_time(self.pid) == self.started


def remove(path: Path) -> None:
    """Remove a journal, and what a killed lvsd began to write of it; harmless without any.

    Raise KernelError, PrivilegeError.
    """
    try:
        path.with_suffix(".new").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(f"remove the journal {path}", error) from error


def journal_path(directory: Path) -> Path:
    """Return where the journal of this network namespace lies, by the namespace's cookie."""
    return directory / f"journal-{_cookie()}.json"


def this_namespace() -> str:
    """Return what tells this boot and network namespace from any other there ever was."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{_cookie()}"


def _cookie() -> str:
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


class _UntrustedError(Exception):
    """Somebody else may have written what root is about to carry out."""


@contextmanager
def _trusted(directory: Path) -> Iterator[int]:
    """Open a directory that only root or we write to. Raise OSError, _UntrustedError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), "its directory", stat.S_IWOTH)
        yield descriptor
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, what: str, forbidden: int) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise _UntrustedError(f"{what} belongs to uid {found.st_uid}")
    if found.st_mode & forbidden:
        raise _UntrustedError(f"{what} can be written by others")


def _load(directory: int, name: str) -> object:
    """Return the JSON in a file that only root or we write to. Raise OSError, ValueError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _UntrustedError("it is a symbolic link") from error
        raise
    with open(descriptor, encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _UntrustedError("it is no file")
        _check(found, "it", stat.S_IWGRP | stat.S_IWOTH)
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


def _refusal(operation: str, error: OSError) -> KernelError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root, or as the user who started it")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return KernelError(operation, error, f"name a directory for it ({_WHERE})")
    return KernelError(operation, error, "see whether its directory can be written")


def _start_time(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None when it is no more (proc(5))."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat_line.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])
