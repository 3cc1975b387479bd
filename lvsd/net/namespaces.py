"""Network namespaces by name, as `ip netns` makes them (ip-netns(8)); enter one.

By setns(2) and unshare(2) in the calling thread, not by pyroute2's NetNS and netns.create: those
fork a helper for each socket and each namespace, which of a Python process costs 13 ms of time
where a conversation begun inside `entered` costs 0.7 ms; a helper also inherits the parent's open
files and its signal handlers, and outlives a parent that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterator

NETNS: Final = Path("/run/netns")
"""Where iproute2 keeps the names."""

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH: Final = 2
_OWN: Final = "/proc/thread-self/ns/net"

_libc: Final = ctypes.CDLL(None, use_errno=True)


def add(name: str) -> None:
    """Make a namespace that only has a loopback interface, down. Raise KernelError.

    It stays when this process ends, however it ends.
    """
    operation, path = f"add the network namespace {name}", NETNS / name
    try:
        _share_the_folder()
        path.touch(mode=0o444, exist_ok=False)
        try:
            with _thread_put_back():
                _call("unshare", _CLONE_NEWNET)
                _call("mount", _OWN.encode(), bytes(path), b"none", _MS_BIND, None)
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise _refusal(operation, error, "see `ip netns list`") from error


def delete(name: str) -> None:
    """Take a namespace's name away; it ends with the last process in it. Raise KernelError."""
    path = NETNS / name
    with contextlib.suppress(OSError):  # never mounted on, by an `add` that was killed
        _call("umount2", bytes(path), _MNT_DETACH)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(f"delete the network namespace {name}", error, "see `ip netns`") from error


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Put this thread into a namespace inside the block. Raise KernelError.

    Sockets opened there belong to the namespace for good, and so do processes and threads
    started there. Other threads stay where they are. Do not await inside the block, unless
    the whole event loop runs in it.
    """
    with _thread_put_back():
        with opened(name) as descriptor:
            try:
                _call("setns", descriptor, _CLONE_NEWNET)
            except OSError as error:
                operation = f"enter the network namespace {name}"
                raise _refusal(operation, error, "see `ip netns list`") from error
        yield


@contextlib.contextmanager
def opened(name: str) -> Iterator[int]:
    """Open a descriptor of a namespace for the time of a block. Raise KernelError."""
    try:
        descriptor = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        operation = f"find the network namespace {name}"
        raise _refusal(operation, error, "see `ip netns list`") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _thread_put_back() -> Iterator[None]:
    home = os.open(_OWN, os.O_RDONLY)
    try:
        try:
            yield
        finally:
            _call("setns", home, _CLONE_NEWNET)
    finally:
        os.close(home)


def _share_the_folder() -> None:
    """Have mounts in the folder be seen from other mount namespaces, as iproute2 does."""
    NETNS.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        _call("mount", b"", bytes(NETNS), b"none", _MS_SHARED | _MS_REC, None)
    except OSError:  # it is no mount point yet
        _call("mount", bytes(NETNS), bytes(NETNS), b"none", _MS_BIND | _MS_REC, None)
        _call("mount", b"", bytes(NETNS), b"none", _MS_SHARED | _MS_REC, None)


def _call(name: str, *arguments: int | bytes | None) -> None:
    # os.setns and os.unshare came with Python 3.12.
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _refusal(operation: str, error: OSError, remedy: str) -> KernelError:
    if isinstance(error, PermissionError):
        needs = "run it as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN"
        return PrivilegeError(operation, error, needs)
    return KernelError(operation, error, remedy)
