"""Where cgroup v2 is, and the cgroups in it.

A cgroup is named as in /proc/PID/cgroup, by its path from the root of cgroup v2: ``/`` is all of
the machine, ``/system.slice/nginx.service`` one service.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError, PrivilegeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC: Final = 0x63677270  # CGROUP2_SUPER_MAGIC
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on all architectures but alpha
_CMD_CREATE: Final = 6  # FSCONFIG_CMD_CREATE
_CLOEXEC: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Tree:
    """cgroup v2, by an open descriptor of its root: nothing in it is reached by another way."""

    root: int

    @property
    def path(self) -> Path:
        """A path of the root that works in this process."""
        return Path(f"/proc/self/fd/{self.root}")

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open a cgroup by its name. Raise KernelError when it is not there."""
        try:
            descriptor = os.open(
                name.strip("/") or ".",
                os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
                dir_fd=self.root,
            )
        except OSError as error:
            remedy = "name one that is there, by its path from the root of cgroup v2"
            raise KernelError(f"open cgroup {name}", error, remedy) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self) -> Iterator[str]:
        """Return the names of all cgroups, the root's first."""
        for place, below, _, _ in os.fwalk(dir_fd=self.root, onerror=_ignore):
            below.sort()
            yield str(PurePosixPath("/", place))

    def name_of(self, given: str) -> str:
        """Return the name of a cgroup that is given by its name, or by a path in the file system.

        Raise UsageError for ``..`` in it.
        """
        path = PurePosixPath(given)
        if ".." in path.parts:
            raise UsageError(f"--cgroup {given}: leave out the '..'")
        for mount in _mounts(Path("/proc/self/mountinfo")):
            if path.is_absolute() and path.is_relative_to(mount):
                return str(PurePosixPath("/", path.relative_to(mount)))
        return str(PurePosixPath("/", path))


def own_name() -> str:
    """Return the name of the cgroup that this process is in; the root where that is unknown."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        number, _, name = line.split(":", 2)
        if number == "0" and not name.startswith("/.."):
            return name
    return "/"


@contextmanager
def tree() -> Iterator[Tree]:
    """Open cgroup v2: where it is mounted, else by a mount that is in no directory.

    Such a mount ends with its descriptor, what was attached to a cgroup by it does not. Raise
    KernelError, PrivilegeError.
    """
    try:
        root = _mounted() or _mount()
    except OSError as error:
        raise _refusal(error) from error
    try:
        yield Tree(root)
    finally:
        os.close(root)


def _mounted() -> int | None:
    """Open the root of cgroup v2 where it is mounted, here or in the first process's view.

    The latter counts: under `ip netns exec` nobody sees /sys/fs/cgroup, and mounting cgroup v2 a
    second time sets the options of all its mounts (nsdelegate, memory_recursiveprot) anew.
    """
    for process in ("self", "1"):
        for mount in _mounts(Path(f"/proc/{process}/mountinfo")):
            place = Path(f"/proc/{process}/root", *mount.parts[1:])
            try:
                descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            if _is_cgroup2(descriptor):
                return descriptor
            os.close(descriptor)
    return None


def _mounts(mountinfo: Path) -> list[Path]:
    """Return where the root of cgroup v2 is mounted (proc(5), mountinfo)."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        place, _, kind = line.partition(" - ")
        if kind.split()[0] == "cgroup2" and place.split()[3] == "/":
            found.append(Path(place.split()[4]))
    return found


def _is_cgroup2(descriptor: int) -> bool:
    # struct statfs begins with f_type, a long; nothing that Python has would tell it.
    buffer = (ctypes.c_long * 64)()
    return _libc.fstatfs(descriptor, buffer) == 0 and buffer[0] == _MAGIC


def _mount() -> int:
    """Mount cgroup v2 in no directory; return the root's descriptor. Raise OSError."""
    context = _call(_FSOPEN, b"cgroup2", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _refusal(error: OSError) -> KernelError:
    operation = "open cgroup v2"
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root or with CAP_SYS_ADMIN")
    if error.errno == errno.ENODEV:
        remedy = f"boot a kernel with CONFIG_CGROUPS; this is Linux {platform.release()}"
        return KernelError(operation, error, remedy)
    return KernelError(operation, error, "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def _ignore(_error: OSError) -> None:
    """Pass over a cgroup that went away during the walk."""
