"""What forks for `tests.quick_start`: all of lvsd loaded, and a fork for each start.

What it forks are children of its parent, the test's process, which waits for them as for others.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import pickle
import runpy
import socket
import sys
from importlib import import_module
from typing import Any, Final, TextIO

from tests.quick_start import MAX_BYTES, MODULES

LOADED: Final = (
    "encodings.ascii",
    "encodings.utf_8_sig",
    "lvsd.check",
    "lvsd.cli",
    "lvsd.control.lvsadm",
    "lvsd.daemon",
    "lvsd.doctor.checks",
    "lvsd.doctor.cli",
    "lvsd.doctor.gather",
    "lvsd.doctor.report",
    "lvsd.entry",
    "lvsd.explain.cli",
    "lvsd.lab.cli",
    "lvsd.lab.demo",
    "lvsd.log",
    "lvsd.realserver.by_hand",
    "lvsd.realserver.cli",
    "lvsd.realserver.status",
    "lvsd.realserver.toa.cli",
    "lvsd.realserver.up",
)
"""All that commands load."""

_CLONE_NEWNET: Final = 0x40000000
_CLONE_PARENT: Final = 0x00008000
_CLONE_CHILD_CLEARTID: Final = 0x00200000
_CLONE_CHILD_SETTID: Final = 0x01000000
_PR_GET_TID_ADDRESS: Final = 40
_SYS_CLONE3: Final = 435

_libc: Final = ctypes.PyDLL(None, use_errno=True)


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
        )
    ]


def load() -> None:
    """Load all that commands load, so that nothing is left to do but their work."""
    for name in LOADED:
        import_module(name)
    from lvsd.net.kernel import _pyroute2, marshal  # noqa: PLC0415 - loaded by the first use

    _pyroute2()
    marshal()
    for name in MODULES[1:]:  # loaded anew as __main__
        sys.modules.pop(name, None)
    gc.collect()
    gc.freeze()


def wait_for_request(requests: socket.socket) -> str | None:
    """Fork for each request; return in what was forked the module to run, and None at last."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, MAX_BYTES, 4)
        if not data:
            return None
        pid = fork()
        if not pid:
            requests.close()
            argv, environment, new_session = pickle.loads(data)  # noqa: S301 - our own
            become(argv, environment, descriptors, new_session=new_session)
            return str(argv[0])
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(b"%d" % pid)


def fork() -> int:
    """Fork as `os.fork` does, but a brother instead of a child. Raise OSError."""
    address = ctypes.c_uint64()
    flags = _CLONE_PARENT
    if _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0 and address.value:
        flags |= _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID  # as glibc does: its own note
    arguments = _CloneArgs(flags=flags, child_tid=address.value)
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(_libc.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def become(
    argv: list[str], environment: dict[str, str], descriptors: list[int], *, new_session: bool
) -> None:
    """Be as a process that was started so: streams, network namespace, environment, arguments."""
    *streams, network = descriptors
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    is_here = os.path.samestat(os.fstat(network), os.stat("/proc/self/ns/net"))  # noqa: PTH116
    if not is_here and _libc.setns(network, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for descriptor in descriptors:
        os.close(descriptor)
    if new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = sys.__stdin__ = open(0, encoding=sys.stdin.encoding, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _writer(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _writer(2, sys.stderr)  # type: ignore[misc]
    sys.argv = argv


def _writer(number: int, like: TextIO) -> io.TextIOWrapper:
    """Return a stream as Python makes it at its start."""
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    below: Any = open(number, "wb", buffering=0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        below,
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=number == 2 or os.isatty(number),
        write_through=is_unbuffered,
    )


if __name__ == "__main__":
    load()
    module = wait_for_request(socket.socket(fileno=int(sys.argv[1])))
    if module is not None:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
