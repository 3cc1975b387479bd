"""A program in a cgroup of its own, in which TOA is read, until the last of its processes ends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NoReturn

from lvsd.errors import KernelError, PrivilegeError
from lvsd.realserver.toa.cgroups import own_name
from lvsd.signals import deferred, unwinding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from lvsd.realserver.toa.cgroups import Tree
    from lvsd.realserver.toa.prefixes import Prefix
    from lvsd.realserver.toa.reader import Kinds, Reader

PREFIX: Final = "lvsd-toa-"
"""What the names of our cgroups begin with; the process that runs the program follows."""

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_BY_SIGNAL: Final = 128

_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP)
_LEFT_TO_THE_PROGRAM: Final = (signal.SIGINT, signal.SIGQUIT)
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def run(
    tree: Tree, reader: Reader, trusted: frozenset[Prefix], kinds: Kinds, command: Sequence[str]
) -> int:
    """Run a program and return its exit status as a shell does: 127 not found, 128 + signal.

    A program that goes into the background is waited for: the last process in the cgroup counts.
    SIGTERM and SIGHUP go to all of them; Ctrl-C reaches them by the terminal. Raise KernelError
    or PrivilegeError when the cgroup cannot be made, Terminated when such a signal comes before
    the program runs.
    """
    name = str(PurePosixPath(own_name(), f"{PREFIX}{os.getpid()}"))
    with unwinding(), _made(tree, name):
        reader.up(name, trusted, kinds)
        try:
            status = _wait(tree, name, command)
        finally:
            with deferred():
                reader.down(name)
    return status


def is_alive(name: str) -> bool:
    """Return whether a cgroup is that of a `run` which still goes on."""
    last = PurePosixPath(name).name
    return last.startswith(PREFIX) and Path("/proc", last.removeprefix(PREFIX)).exists()


def sweep(tree: Tree) -> list[str]:
    """Remove cgroups that a killed `run` left, and that have no process; return their names."""
    left = [
        name
        for name in tree.names()
        if PurePosixPath(name).name.startswith(PREFIX) and not is_alive(name)
    ]
    return [name for name in left if _removed(tree, name)]


def _removed(tree: Tree, name: str) -> bool:
    """Remove a cgroup and those below; return False when a process is in one of them."""
    place = name.strip("/")
    try:
        for below, _, _, _ in os.fwalk(place, topdown=False, dir_fd=tree.root):
            os.rmdir(below, dir_fd=tree.root)
    except OSError:
        return False
    return True


@contextmanager
def _made(tree: Tree, name: str) -> Iterator[None]:
    """Have a cgroup inside the block."""
    try:
        os.mkdir(name.strip("/"), 0o755, dir_fd=tree.root)
    except OSError as error:
        operation = f"make cgroup {name}"
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise PrivilegeError(operation, error, "run lvsd as root") from error
        remedy = "see whether /sys/fs/cgroup is writable and cgroup.max.descendants allows it"
        raise KernelError(operation, error, remedy) from error
    try:
        yield
    finally:
        with deferred():
            _removed(tree, name)


def _wait(tree: Tree, name: str, command: Sequence[str]) -> int:
    """Run a program in a cgroup and return its status once the cgroup is empty."""
    directory = tree.path / name.strip("/")
    child: set[int] = set()  # it may not have entered the cgroup yet

    def forward(number: int, _frame: FrameType | None) -> None:
        for pid in child | _members(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before |= {number: signal.signal(number, signal.SIG_IGN) for number in _LEFT_TO_THE_PROGRAM}
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        pid = os.fork()
        if pid == 0:
            _become(directory, command, before)
        child.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        _, status = os.waitpid(pid, 0)
        child.clear()
        _until_empty(directory)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _BY_SIGNAL - code


def _become(
    directory: Path, command: Sequence[str], handlers: Mapping[signal.Signals, object]
) -> NoReturn:
    """Turn this process into the program, which gets the signals as we got them; never return."""
    status = NOT_EXECUTABLE
    try:
        for number, handler in handlers.items():
            ignored = handler is signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        (directory / "cgroup.procs").write_text("0", encoding="ascii")
        os.execvp(command[0], list(command))  # noqa: S606 - the operator's own command, without a shell
    except OSError as error:
        if error.errno == errno.ENOENT:
            status = NOT_FOUND
        os.write(2, f"lvsd: {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def _members(directory: Path) -> set[int]:
    return {int(pid) for pid in (directory / "cgroup.procs").read_text(encoding="ascii").split()}


def _until_empty(directory: Path) -> None:
    """Return once no process is in a cgroup or below; the kernel says so (cgroup.events)."""
    with (directory / "cgroup.events").open(encoding="ascii") as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            poll.poll()
            events.seek(0)
