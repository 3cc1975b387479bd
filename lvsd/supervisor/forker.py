"""A process that forks others: it has everything loaded, one thread, and nothing else to do.

A program that starts anew takes some tenths of a second, most of them for Python's imports; a fork
takes some milliseconds, and shares the memory of what was loaded. The supervisor cannot fork
itself, as it has threads and an event loop. So it forks this one first thing, and has it fork
engines from then on.

The two talk over a socket pair, in JSON: the supervisor sends the descriptor that a new process is
to have, and is told the process's number, or why there is none, and later how it ended. When the
supervisor is gone, this process ends too, once its children have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.errors import KernelError, LvsdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Work = Callable[[socket.socket], int]

PATIENCE_S: Final = 2.0
"""How long children may go on when the supervisor is gone, in seconds; then they are killed."""

FORK_S: Final = 10.0
"""How long to wait for a new process, in seconds."""

CLOSE_S: Final = PATIENCE_S + 2.0
"""How long the process that forks may take to end, its children included; then it is killed."""

_LOOK_S: Final = 0.002
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal, or systemd, sends these to all processes at once; they are for the supervisor."""
_LONGEST: Final = 4096
_ASK: Final = b"fork"

log = structlog.get_logger("lvsd")


class ForkError(KernelError):
    """No process could be made."""


class Forker:
    """This side of it. ``work`` is what a process that was forked does with its descriptor.

    What it returns is the exit status. Make it before there is a thread, or an event loop. It and
    what it forks have none of the descriptors of ``ours_alone``.
    """

    def __init__(self, work: Work, ours_alone: Iterable[int] = ()) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self._process = os.fork()
        except OSError as error:
            self._socket.close()
            theirs.close()
            raise ForkError("fork a process", error, "see the limit of processes") from error
        if not self._process:
            self._socket.close()
            for each in ours_alone:
                os.close(each)
            _forever(theirs, work)
        theirs.close()
        self._asked: list[asyncio.Future[int]] = []
        self._ends: dict[int, asyncio.Future[int | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.has_ended = False
        """It is gone, and nobody ended it: no process can be made any more."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to it on ``loop``."""
        self._loop = loop
        self._socket.setblocking(False)
        loop.add_reader(self._socket.fileno(), self._readable)

    def parting(self) -> tuple[int, int]:
        """Return its process, and our end of the socket pair, for a program in our place.

        Where it has ended that is the end of a pair that nobody has the other end of.
        """
        if self._socket.fileno() < 0:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.close()
        return self._process, self._socket.fileno()

    async def fork(self, end: socket.socket) -> tuple[int, asyncio.Future[int | None]]:
        """Have a process made that owns ``end``; return its number, and its exit status to come.

        The status is that of `os.waitstatus_to_exitcode`; None if nobody knows. Raise ForkError.
        """
        asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            if self._loop is None:
                raise BrokenPipeError
            socket.send_fds(self._socket, [_ASK], [end.fileno()])
        except OSError as error:
            raise _gone() from error
        self._asked.append(asked)
        try:
            async with asyncio.timeout(FORK_S):
                process = await asked
        except TimeoutError as error:
            why = f"the forker says nothing for {FORK_S:.0f} s"
            raise ForkError("fork a process", why, "restart lvsd") from error
        return process, self._ends[process]

    def close(self) -> None:
        """Have it end, and its children with it; return when it has. Harmless when done twice.

        One that does not end in time, as one that was stopped by SIGSTOP, is killed: its children
        end with the socket pairs, or are init's to bury.
        """
        self._leave()
        if self._process:
            latest = time.monotonic() + CLOSE_S
            with contextlib.suppress(ChildProcessError):
                while not os.waitpid(self._process, os.WNOHANG)[0]:
                    if time.monotonic() >= latest:
                        os.kill(self._process, signal.SIGKILL)
                        os.waitpid(self._process, 0)
                        break
                    time.sleep(_LOOK_S)
            self._process = 0

    def _leave(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._socket.close()

    def _readable(self) -> None:
        try:
            line = self._socket.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            line = b""
        if line:
            self._hear(json.loads(line))
            return
        self._leave()
        self.has_ended = True
        for each in self._asked:
            if not each.done():
                each.set_exception(_gone())
        self._asked.clear()
        log.error("the forker ended; lvsd ends with the next engine", remedy="restart lvsd")
        for process, ends in self._ends.items():
            self._watch(process, ends)
        self._ends.clear()

    @staticmethod
    def _watch(process: int, ends: asyncio.Future[int | None]) -> None:
        """Notice that a process ends which nobody tells about any more."""
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            ends.set_result(None)
            return

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            ends.set_result(None)

        loop.add_reader(descriptor, ended)

    def _hear(self, said: dict[str, int]) -> None:
        if "ended" in said:
            self._ends.pop(said["ended"]).set_result(said["status"])
            return
        asked = self._asked.pop(0)
        if "errno" in said:
            refused = OSError(said["errno"], os.strerror(said["errno"]))
            if not asked.done():
                what = "fork a process"
                asked.set_exception(ForkError(what, refused, "see the limit of processes"))
            return
        process = said["process"]
        self._ends[process] = asyncio.get_running_loop().create_future()
        if not asked.done():  # else nobody waits any more, and it ends, as its socket pair did
            asked.set_result(process)


def name_process(name: str) -> None:
    """Have ``ps`` and ``top`` show a name for this process, 15 characters at most."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, "ascii")


def _tell(what: str, error: Exception) -> None:
    """Log why this process ends, with a traceback if the error may be a mistake in lvsd."""
    with contextlib.suppress(Exception):  # without memory there are no words, either
        if isinstance(error, LvsdError | OSError | MemoryError):
            log.error(what, error=str(error) or type(error).__name__)
        else:
            log.error(what, exc_info=error)


def _gone() -> ForkError:
    return ForkError("fork a process", "the forker is gone", "restart lvsd")


def _forever(end: socket.socket, work: Work) -> None:
    """Be the process that forks. Never returns."""
    status = os.EX_SOFTWARE
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        name_process("lvsd-forker")
        _Children(end, work).serve()
        status = os.EX_OK
    except Exception as error:  # noqa: BLE001 - nobody above would tell of it
        _tell("the forker ends", error)
    finally:
        os._exit(status)


class _Children:
    """The other side: forks when asked to, and tells how its children ended."""

    def __init__(self, end: socket.socket, work: Work) -> None:
        self._end = end
        self._work = work
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._by_descriptor: dict[int, int] = {}

    def serve(self) -> None:
        """Do as the supervisor says until it is gone; then see that the children end."""
        here = True
        while here:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._by_descriptor:
                    self._bury(descriptor)
                else:
                    here = self._asked()
        self._poll.unregister(self._end)
        latest = time.monotonic() + PATIENCE_S
        while self._by_descriptor and (left_s := latest - time.monotonic()) > 0:
            for descriptor, _ in self._poll.poll(left_s * 1000):
                self._bury(descriptor)
        for process in self._by_descriptor.values():
            os.kill(process, signal.SIGKILL)

    def _asked(self) -> bool:
        """Fork, if that is what the supervisor says; return False when it is gone."""
        try:
            message, descriptors, flags, _ = socket.recv_fds(self._end, len(_ASK), 1)
        except ConnectionError:
            return False
        if message != _ASK:
            return False
        if not descriptors:  # the kernel keeps one back for which we have no number left
            self._say(errno=errno.EMFILE if flags & socket.MSG_CTRUNC else errno.EBADF)
        for descriptor in descriptors:
            with socket.socket(fileno=descriptor) as theirs:
                try:
                    process = self._fork(theirs)
                except OSError as error:
                    self._say(errno=error.errno or 0)
                else:
                    self._say(process=process)
        return True

    def _fork(self, theirs: socket.socket) -> int:
        """Return the number of a new process, which is watched. Raise OSError, with none made."""
        process = os.fork()
        if not process:
            self._be_a_child(theirs)
        try:
            watched = os.pidfd_open(process)
        except OSError:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise
        self._by_descriptor[watched] = process
        self._poll.register(watched, select.POLLIN)
        return process

    def _be_a_child(self, end: socket.socket) -> None:
        """Do the work. Never returns."""
        status = os.EX_SOFTWARE
        try:
            self._end.close()
            for each in self._by_descriptor:
                os.close(each)
            status = self._work(end)
        except Exception as error:  # noqa: BLE001 - nobody above would tell of it
            _tell("an engine ends", error)
        finally:
            os._exit(status)

    def _bury(self, descriptor: int) -> None:
        process = self._by_descriptor.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(process, 0)
        self._say(ended=process, status=os.waitstatus_to_exitcode(status))

    def _say(self, **about: int) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more
            self._end.send(json.dumps(about).encode())
