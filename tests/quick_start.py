"""Start ``python -m lvsd`` without loading Python and lvsd's modules anew each time.

That takes three quarters of the processor time of a start, and tests start lvsd hundreds of times.
So a process that has loaded all of it (`tests.quick_start_server`) forks for each start. What
comes of it is a child of the test's own process, in the namespace, with the environment and the
streams that were asked for, and runs ``lvsd/__main__.py``; `Popen` treats it as any other.

Whatever is started in any other way runs as it is: with options of Python, by another program such
as ``setpriv`` or ``ip netns exec``, with descriptors, or where limits, signals, namespaces or the
folder are no longer those that this process began with. ``LVSD_TEST_FRESH_STARTS=1`` has all run
as it is.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODULES: Final = ("lvsd", "lvsd.control.lvsadm", "tests.program")
"""What is run quickly, after ``python -m``."""

MAX_BYTES: Final = 1 << 17
"""Of one request: arguments and environment."""

OWN_WAY: Final = signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
"""How Python's own way of starting a program is called; it is no public one."""

PLAIN: Final = {"preexec_fn": None, "pass_fds": (), "shell": False, "gid": None, "gids": None}
PLAIN_TOO: Final = {"uid": None, "umask": -1, "executable": None, "process_group": -1}
LIMITS: Final = [each for each in dir(resource) if each.startswith("RLIMIT_")]
AT_LOADING: Final = ("PYTHON", "LVSD_", "LANG", "LC_", "TZ", "LD_")
"""How the names of variables begin that count when Python or a module is loaded."""


@contextmanager
def quick_starts(*, at_once: bool) -> Iterator[None]:
    """Have lvsd start quickly inside the block.

    ``at_once``: begin to load now, not at the first start, and in the network namespace of now.
    """
    if os.environ.get("LVSD_TEST_FRESH_STARTS") == "1" or not _is_known():
        yield
        return
    server = _Server()
    if at_once:
        server.begin()
    own = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def execute(popen: subprocess.Popen[Any], *given: Any) -> None:
        asked = OWN_WAY.bind(popen, *given).arguments
        argv, environment = _argv(asked), dict(asked["env"] or os.environ)
        if not _is_plain(asked, argv) or not server.suits(environment):
            own(popen, *given)
            return
        streams = [
            number if descriptor == -1 else descriptor
            for number, descriptor in enumerate(
                (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
            )
        ]
        popen.pid = server.start(
            argv[2:], environment, streams, new_session=asked["start_new_session"]
        )
        popen._child_created = True  # type: ignore[attr-defined]
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        popen._close_pipe_fds(*(asked[end] for end in ends))  # type: ignore[attr-defined]

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = own  # type: ignore[attr-defined]
        server.close()


def _is_known() -> bool:
    """Return whether this Python starts programs as the one does that this was written for."""
    names = {"args", "env", "cwd", "p2cread", "c2pwrite", "errwrite", "start_new_session"}
    return names | PLAIN.keys() | PLAIN_TOO.keys() <= OWN_WAY.parameters.keys() and hasattr(
        subprocess.Popen, "_close_pipe_fds"
    )


def _argv(asked: Mapping[str, Any]) -> list[str]:
    given = asked["args"]
    return [] if isinstance(given, str | bytes | os.PathLike) else [os.fsdecode(x) for x in given]


def _is_plain(asked: Mapping[str, Any], argv: Sequence[str]) -> bool:
    return (
        argv[:2] == [sys.executable, "-m"]
        and argv[2:3] != []
        and argv[2] in MODULES
        and all(asked[name] == value for name, value in (PLAIN | PLAIN_TOO).items())
        and asked["close_fds"]
        and (asked["cwd"] is None or os.fspath(asked["cwd"]) == os.getcwd())  # noqa: PTH109 - quick
    )


class _Server:
    """The process that forks, as one that inherits what this thread has now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = _surroundings()
        self._environment = _at_loading(os.environ)
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Have the process begin, and load while this one goes on."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.quick_start_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Return whether what is forked finds what it would find if it were started here."""
        return (
            self._began == _surroundings()
            and self._environment == _at_loading(environment)
            and not any(map(os.isatty, range(3)))
        )

    def start(
        self,
        argv: list[str],
        environment: dict[str, str],
        streams: list[int],
        *,
        new_session: bool,
    ) -> int:
        """Have a process run a module with arguments; return its id."""
        with self._lock:
            if self._process is None:
                self.begin()
            network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            try:
                request = pickle.dumps((argv, environment, new_session))
                socket.send_fds(self._socket, [request], [*streams, network])
                answer = self._socket.recv(100)
            finally:
                os.close(network)
            if not answer.isdigit():
                raise OSError(f"nothing forks for tests any more: {answer!r}")
            return int(answer)

    def close(self) -> None:
        """End the process; what it started stays."""
        if self._process is not None:
            self._socket.close()
            self._process.wait()


def _at_loading(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key.startswith(AT_LOADING)}


def _surroundings() -> list[object]:
    """Return what a program inherits from this thread besides what a request says."""
    spaces = []
    for kind in ("mnt", "pid_for_children", "user", "uts", "ipc", "cgroup"):
        with suppress(OSError):
            spaces.append(os.readlink(f"/proc/thread-self/ns/{kind}"))  # noqa: PTH115
    with open("/proc/thread-self/cgroup", encoding="ascii") as cgroup:  # noqa: PTH123 - quick
        groups = cgroup.read()
    return [
        spaces,
        groups,
        os.getcwd(),  # noqa: PTH109 - quick
        os.getpgrp(),
        os.geteuid(),
        os.nice(0),
        os.sched_getaffinity(0),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        [resource.getrlimit(getattr(resource, each)) for each in LIMITS],
    ]
