"""Run other code in this process's place, while the engine goes on: ``lvsd upgrade``.

The new code is asked first, as another program, whether it takes what it would be handed over: it
has to load, to know the format, and to accept the configuration in force and all that is wanted.
Until then nothing has changed, and what it refuses changes nothing. Then no change is under way any
more, what was asked about is still so, and this process executes the new code
(`lvsd.supervisor.handover`; what that does is in `lvsd.supervisor.beginning`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio import to_thread
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from lvsd import __version__, notify
from lvsd.arguments import HANDOVER
from lvsd.control.protocol import UPGRADING
from lvsd.engine.messages import Farewell
from lvsd.engine.wire import frame
from lvsd.errors import BusyError, ControlError, KernelError
from lvsd.io.queue_statistics import program_of, queue_statistics
from lvsd.supervisor import handover
from lvsd.supervisor.beginning import next_queue
from lvsd.supervisor.desk import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.control.peers import Peer
    from lvsd.control.server import ControlServer
    from lvsd.io.divert import Divert
    from lvsd.notify import Notifier
    from lvsd.supervisor.conversation import Conversation
    from lvsd.supervisor.desk import Desk, Params
    from lvsd.supervisor.door import Door
    from lvsd.supervisor.forker import Forker
    from lvsd.supervisor.handover import Handover
    from lvsd.supervisor.own_ports import OwnPorts
    from lvsd.supervisor.reload import Reloads

PROBE_S: Final = 60.0
"""How long the new code may take to load and to look at what it would be handed over."""

KILLED_S: Final = 5.0
"""How long to wait for it after it was killed."""

TRIES: Final = 3
"""How often the new code is asked while something may be changed; then it may not."""

QUIET_S: Final = 1.0
"""How long clients may take to get what they have asked for before."""

BLOCKED: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
"""They wait until the new code has handlers."""

_UPGRADE: Final = "upgrade"
_ASK_AGAIN: Final = "lvsd is just being upgraded: ask again"
_RAISE: Final = "raise the limits of open files and of memory (`ulimit -n`, `ulimit -v`)"
_LOOK_S: Final = 0.005
_TURNS: Final = 5
"""So many turns of the event loop it takes until a signal that came is heeded, and some more."""
_LONGEST: Final = 300

log = structlog.get_logger("lvsd")


class Parts(NamedTuple):
    """What of a supervisor goes along."""

    began: float
    queue: int
    reloads: Reloads
    door: Door
    control: ControlServer
    divert: Divert
    engine: Conversation
    forker: Forker
    ports: OwnPorts
    manager: Notifier
    desk: Desk
    stopped: asyncio.Event
    """Somebody has asked for a stop."""
    counters: dict[str, Any]
    """What of the lvsd before goes on: how many upgrades there were."""


class Upgrades:
    """Does one upgrade at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._is_under_way = False
        self._task: asyncio.Task[None] | None = None

    def counters(self) -> dict[str, dict[str, int | str]]:
        """Return how many there were, and what came of the last one."""
        words = ("upgrades", "last_upgrade")
        return {word: self._parts.counters[word] for word in words if word in self._parts.counters}

    async def upgrade(self, by: str) -> None:
        """Execute the code that is installed now, for somebody; never return from that.

        It is done to its end even if nobody waits for that any more. Raise ControlError or
        KernelError where it cannot be: nothing has changed then.
        """
        if self._is_under_way:
            raise BusyError("an upgrade is under way already: ask again when that is done")
        try:
            client = os.dup(self._parts.control.asking().fileno())
        except OSError as error:
            raise KernelError("hand over to the new lvsd", error, _RAISE) from error
        self._is_under_way = True
        self._task = asyncio.get_running_loop().create_task(self._upgrade(by, client))
        try:
            await asyncio.shield(self._task)
        except (ControlError, KernelError) as error:
            log.error("not upgraded: nothing has changed", by=by, why=str(error))  # noqa: TRY400 - it says all
            raise

    def stop(self) -> None:
        """Begin nothing any more, and give up what is under way: lvsd is about to end."""
        self._is_under_way = True
        if self._task is not None:
            self._task.cancel()

    async def _upgrade(self, by: str, client: int) -> None:
        try:
            program = command()
            see_whether_found(program, self._parts.reloads.file)
            await self._parts.engine.gate.passed()
            await self._parts.engine.heard()
            for _ in range(TRIES):
                await self._unless_changed(program, by, client)
            await self._whatever_comes(program, by, client)
        finally:
            self._parts.desk.busy = ""
            os.close(client)
            self._is_under_way = False

    async def _unless_changed(self, program: Program, by: str, client: int) -> None:
        """Ask the new code and execute it; return where something has changed meanwhile.

        What is under way is waited for. Who asks for a change after that is told to ask again: he
        would be cut off, and not know whether it was done.
        """
        parts = self._parts
        self._look_for_obstacles()
        async with parts.reloads.still(), parts.door.still():
            known, tried = await self._described(by), parts.door.tried
        await probe(program, known)
        if parts.door.tried != tried:
            return
        parts.desk.busy = _ASK_AGAIN
        async with parts.reloads.still(), parts.door.still():
            if parts.door.tried == tried:
                await self._go(program, known, client)
        parts.desk.busy = ""

    async def _whatever_comes(self, program: Program, by: str, client: int) -> None:
        """Do the same while nothing may be changed: changes come all the time."""
        parts = self._parts
        parts.desk.busy = _ASK_AGAIN
        async with parts.reloads.still(), parts.door.still():
            known = await self._described(by)
            await probe(program, known)
            await self._go(program, known, client)

    async def _go(self, program: Program, known: Handover, client: int) -> None:
        parts = self._parts
        await parts.engine.gate.passed()  # one that has not read the state cannot hand it on
        self._look_for_obstacles()  # much time may have gone by since
        parts.door.tell({"change": UPGRADING})
        await self._quiet()
        # In the other thread, too: the kernel gives a signal to any that takes it. Only now, as
        # programs that a thread starts have what it blocks.
        await to_thread(signal.pthread_sigmask, signal.SIG_BLOCK, BLOCKED)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            for _ in range(_TURNS):  # what came before that is heeded here
                await asyncio.sleep(0)
            if parts.stopped.is_set():
                raise BusyError("lvsd is just being stopped")
            now = replace(known, ports=parts.ports.state(), counters=self._counted())
            self._execute(program, now, client)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            await to_thread(signal.pthread_sigmask, signal.SIG_UNBLOCK, BLOCKED)

    def _look_for_obstacles(self) -> None:
        """Raise KernelError where it cannot be now."""
        parts = self._parts
        other = next_queue(parts.reloads.config.daemon.queue, parts.queue)
        if holder := queue_statistics(other):
            raise KernelError(
                f"take NFQUEUE {other}",
                f"it is taken by netlink port {holder.port}{program_of(holder.port)}",
                "an upgrade needs it for the new engine: end that program, or restart lvsd",
            )
        if unkept := parts.engine.unkept:
            raise KernelError(
                "hand over all connections",
                f"{unkept} of {parts.engine.connections} are not in the file beside the control "
                "socket: there was no room, or somebody removed it",
                "make room there and ask again in some seconds; see the log",
            )

    def _counted(self) -> dict[str, Any]:
        return self._parts.reloads.counters() | self.counters()

    async def _described(self, by: str) -> Handover:
        """Return what is to be handed over, but what is open. Nothing is to change meanwhile."""
        parts = self._parts
        return await to_thread(
            handover.described,
            parts.door.wanted,
            parts.reloads.config,
            began=parts.began,
            queue=parts.queue,
            ports=parts.ports.state(),
            counters=self._counted(),
            by=by,
        )

    async def _quiet(self) -> None:
        """Wait until the engine has all that it was told, and clients what they asked for."""
        parts = self._parts
        await asyncio.sleep(_LOOK_S)  # those that listen have what was told just now
        for _ in range(round(QUIET_S / _LOOK_S)):
            if parts.control.busy <= 1 + parts.door.listeners:
                break
            await asyncio.sleep(_LOOK_S)
        await to_thread(int)  # what the one thread does is done
        for _ in range(round(QUIET_S / _LOOK_S)):
            if parts.engine.gate.is_open and parts.engine.working.has_all:
                return
            await asyncio.sleep(_LOOK_S)
        raise BusyError("the engine takes long over what it was told: ask again")

    def _execute(self, program: Program, known: Handover, client: int) -> None:
        """Execute the new code. Raise KernelError if the kernel does not. Signals are blocked."""
        parts = self._parts
        engine, farewell = parts.engine.working, frame(Farewell(keep=True))
        pid_descriptor = -1
        try:
            forker_process, forker = parts.forker.parting()
            pid_descriptor = os.pidfd_open(engine.process)
            ends = {
                "control": parts.control.descriptor,
                "client": client,
                "table": parts.divert.descriptor,
                "engine": engine.descriptor,
                "engine_process": pid_descriptor,
                "forker": forker,
            }
            whole = replace(known, forker=forker_process, farewell=farewell.hex(), descriptors=ends)
            descriptor = handover.passed_on(whole)
            environment = os.environ | {HANDOVER: str(descriptor)}
            log.info("upgrading", by=known.by, version=__version__, program=program.prefix[0])
            parts.manager.send(notify.RELOADING, notify.monotonic_now())
            parts.manager.send(notify.WATCHDOG)
            if parts.reloads.is_wanted:  # it waits for us, and is to be done after that
                signal.raise_signal(signal.SIGHUP)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            try:
                os.execve(program.prefix[0], [*program.prefix, *program.arguments], environment)  # noqa: S606
            except OSError as error:
                what, remedy = "execute the new lvsd", "see that it is installed"
                raise KernelError(what, error, remedy) from error
            finally:
                handover.kept_back(whole, descriptor)
                parts.manager.send(notify.READY)
        except OSError as error:
            raise KernelError("hand over to the new lvsd", error, _RAISE) from error
        finally:
            if pid_descriptor >= 0:
                os.close(pid_descriptor)


class Program(NamedTuple):
    """How this process was started: the program as it was named, and its arguments."""

    prefix: list[str]
    arguments: list[str]
    probe: tuple[str, ...] = (_UPGRADE, "--probe")


def command(argv: Sequence[str] | None = None, original: Sequence[str] | None = None) -> Program:
    """Return how to start what is installed now under the name that this process was started by.

    A script that can be executed names its own Python: that of a new environment, where a link
    leads to that now. Raise ControlError where nobody knows.
    """
    argv = sys.argv if argv is None else argv
    original = sys.orig_argv if original is None else original
    script, *arguments = argv
    before = len(original) - len(arguments)
    if before > 0 and list(original[before:]) == arguments:
        if list(original[1:before]) == [script] and os.access(script, os.X_OK):
            return Program([script], arguments)
        return Program([sys.executable, *original[1:before]], arguments)
    if Path(script).name == "__main__.py":
        return Program([sys.executable, "-m", "lvsd"], arguments)
    raise ControlError("nobody knows how this lvsd was started: restart it")


def see_whether_found(program: Program, file: Path) -> None:
    """Raise ControlError where the new code would not find the configuration's ``file``.

    The working directory is that of the start, and may be gone.
    """
    try:
        Path.cwd()
    except OSError as error:
        if not any(each.endswith(str(file)) for each in program.arguments):
            why = f"the working directory, which {file.name} was named in: {error.strerror}"
            raise ControlError(f"{why}; restart lvsd") from error


async def probe(program: Program, known: Handover) -> None:
    """Ask the new code whether it takes what it would be handed over. Raise ControlError if not."""
    await ask([*program.prefix, *program.probe], handover.written(known))


async def ask(program: Sequence[str], data: bytes) -> None:
    """Ask a program whether it takes what it is given. Raise ControlError if not."""
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.create_task(  # asyncio waits for ever for one that is given up half-way
        asyncio.create_subprocess_exec(
            *program, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _kill(await starting)
        raise
    except OSError as error:
        raise ControlError(f"{program[0]} cannot be executed: {error.strerror}") from error
    try:
        async with asyncio.timeout(PROBE_S):
            said, complaints = await process.communicate(data)
    except TimeoutError:
        await _kill(process)
        raise ControlError(f"the new code has not answered within {PROBE_S:.0f} s") from None
    except BaseException:
        await _kill(process)
        raise
    try:
        answer = json.loads(said)
        refusal = str(answer["refusal"])
    except (ValueError, KeyError, TypeError):
        raise ControlError(f"the new code does not start: {_last(complaints)}") from None
    if refusal:
        raise ControlError(refusal)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End a program, and those that it has started: as long as one has its pipes it goes on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(KILLED_S):
            await process.wait()


def _last(complaints: bytes) -> str:
    lines = complaints.decode("utf-8", "replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    return told[-1][:_LONGEST] if told else "it says nothing"


def methods(upgrades: Upgrades) -> dict[str, Method]:
    """Return what clients may ask for."""

    async def run(params: Params, peer: Peer) -> object:
        if params:
            raise ValueError("upgrade has no parameters")
        await upgrades.upgrade(str(peer))
        return None

    return {_UPGRADE: Method(run)}


def unblock() -> None:
    """Let signals come that have waited since the upgrade: there are handlers now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
