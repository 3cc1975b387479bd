"""The file that remembers what lvsd changed on the machine, and whether its writer still lives."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lvsd.errors import KernelError


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


@dataclass(slots=True)
class Journal:
    """Who changed what, oldest first."""

    pid: int
    started: int
    """Start of the process in clock ticks since boot: a pid alone may be somebody else's now."""
    sysctls: list[SysctlChange] = field(default_factory=list)
    addresses: list[AddressChange] = field(default_factory=list)

    @classmethod
    def of_this_process(cls) -> Journal:
        """Return an empty journal that this process writes."""
        pid = os.getpid()
        return cls(pid, _start_time(pid) or 0)

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Return what the file says, None without one. Raise KernelError when it is unreadable."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                content["pid"],
                content["started"],
                [SysctlChange(**change) for change in content["sysctls"]],
                [AddressChange(**change) for change in content["addresses"]],
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KernelError(
                f"read the journal {path}",
                str(error) or type(error).__name__,
                "look into it, put back by hand what it names, and remove it",
            ) from error

    def write(self, path: Path) -> None:
        """Put the journal on the disk, whole or not at all. Raise KernelError."""
        draft = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise KernelError(
                f"write the journal {path}", error, "make the directory writable for lvsd"
            ) from error

    def writer_lives(self) -> bool:
        """Return whether the process that wrote this is still running."""
        return _start_time(self.pid) == self.started


def journal_path(directory: Path) -> Path:
    """Return where the journal of this network namespace lies, by the namespace's inode."""
    return directory / f"journal-{Path('/proc/thread-self/ns/net').stat().st_ino}.json"


def _start_time(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None when it is no more (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
