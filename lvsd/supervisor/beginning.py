"""How a supervisor begins: from nothing, or with what the one before it has handed over.

The order of a start is the same (`lvsd.supervisor.supervisor`); here is what differs in it. From
nothing an lvsd clears up after one that was killed, has its engine read the queue, and then diverts
packets. After an upgrade packets are diverted all the time, and another engine serves them: the new
one gets a queue of its own, and works out all that it can beforehand. Then the one rule that queues
is turned to it, the engine before writes down its state and ends, and the new one goes on with that
and with the packets that wait. Only that is a pause.
"""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import to_thread
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from lvsd import __version__
from lvsd.assembly import commands, local_ranges, nothing_of
from lvsd.control.protocol import Code, encode_error, encode_line
from lvsd.control.server import ControlServer
from lvsd.errors import KernelError
from lvsd.io import leftovers
from lvsd.io.divert import Divert
from lvsd.io.journal import journal_path
from lvsd.io.machine import Machine, Unfinished, take_over
from lvsd.supervisor import one_thread, orphans
from lvsd.supervisor.pause import NoEngine, Pause
from lvsd.supervisor.predecessor import Predecessor
from lvsd.supervisor.unwinding import Unwinding, raise_limits, remedy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from pathlib import Path

    from lvsd.config import model
    from lvsd.control.peers import Peer
    from lvsd.core.commands import Command
    from lvsd.supervisor.conversation import Conversation
    from lvsd.supervisor.diverting import Diverting
    from lvsd.supervisor.handover import Handover
    from lvsd.supervisor.own_ports import OwnPorts

    Then = Callable[[str, Callable[[], Awaitable[None] | None]], None]


class Ground(NamedTuple):
    """What a start stands on, and how that is undone."""

    pause: Pause
    divert: Divert
    control: ControlServer
    stop_diverting: Callable[[], None]
    finish: Callable[[Machine], None]


HIGHEST: Final = 65535
"""The last NFQUEUE."""

log = structlog.get_logger("lvsd")


class Beginning:
    """A start from nothing, with a configuration."""

    def __init__(self, config: model.Config) -> None:
        self._config = config
        self.wanted = nothing_of(config)
        """What is wanted, once the `commands` are folded in."""
        self.queue = config.daemon.queue
        self.began = time.monotonic()
        self.counters: dict[str, Any] = {}
        """What of an earlier lvsd's counters goes on."""

    def commands(self) -> Iterable[Command]:
        """Return what is wanted at first."""
        return commands(self._config)

    def inherit(self, ground: Ground, then: Then) -> None:
        """Say how all that was handed over is undone, before anything can fail."""

    async def take_over(self, ground: Ground, then: Then, check: Callable[[], None]) -> Machine:
        """Clear up after an lvsd that was killed; return what changes this host.

        ``check`` may raise what ends that, and so may ``then``. Raise KernelError, OSError.
        """
        directory = ground.control.path.parent
        await to_thread(orphans.outlive, _say_orphan, check)
        said = await to_thread(take_over, journal_path(directory))
        say(said, log.warning, "cleaned up what a killed lvsd left")
        then("let go of the guard", leftovers.remove_guard)
        ground.pause.begin(directory)
        changes = Machine(journal_path(directory))
        then("put everything back", lambda: to_thread(ground.finish, changes))
        return changes

    def share_ports(self, ports: OwnPorts, changes: Machine) -> None:
        """Share the host's ports."""
        is_on = self._config.sysctl.reserve_local_ports
        ports.start(local_ranges(self._config), changes, is_on=is_on)

    async def divert(self, divert: Divert, engine: Conversation, diverting: Diverting) -> None:
        """Have the engine take packets, and packets diverted to it. Raise LvsdError."""
        engine.start()
        await to_thread(divert.prepare)  # while it works out what follows from all that
        await engine.started()
        diverting.up()

    def tell(self, engine: Conversation) -> None:
        """Tell who waits for it that all is up."""

    def abandon(self) -> None:
        """Undo what was handed over, where nobody has inherited it. Never raises."""

    def fail(self, why: str) -> None:
        """Tell who waits for it that nothing came of it."""


class Succession(Beginning):
    """A start in the place of an lvsd that handed over what is wanted, and all else."""

    def __init__(self, handover: Handover, handed: Iterable[Command], config: model.Config) -> None:
        super().__init__(config)
        ends = handover.descriptors or {}
        self._handed = handed
        self._before = Predecessor(handover)
        self._handover = handover
        self._table = ends["table"]
        self._client = socket.socket(fileno=ends["client"])
        self.queue = next_queue(config.daemon.queue, handover.queue)
        self.began = handover.began
        self.counters = handover.counters
        self._control = ends["control"]
        self._is_inherited = False
        self._machine: Machine | None = None
        self._pause_s = 0.0

    def commands(self) -> Iterable[Command]:
        """Return what was wanted when it was handed over."""
        return self._handed

    def inherit(self, ground: Ground, then: Then) -> None:
        """Say how all that was handed over is undone, before anything can fail.

        What ends it from now on is as any stop: packets are held back, the virtual addresses go,
        and the engine before leaves its connections to the next start. Raise KernelError.
        """
        self._is_inherited = True
        directory = ground.control.path.parent
        ground.pause.go_on(directory)
        ground.control.take_over(self._control)
        then("let go of the guard", leftovers.remove_guard)
        try:
            changes = self._machine = Machine(journal_path(directory), is_own=True)
            then("put everything back", lambda: one_thread.run(ground.finish, changes))
        finally:
            then("end what is kept of the engine", ground.pause.end_engine)
            then("end the engine before", self._before.end)
            then("close the control socket", ground.control.stop)
            then("stop diverting packets", ground.stop_diverting)
        then("put back what was changed", lambda: one_thread.run(undone, changes))
        ground.divert.go_on(self._table)

    async def take_over(
        self,
        ground: Ground,  # noqa: ARG002 - all of it is taken over
        then: Then,  # noqa: ARG002
        check: Callable[[], None],  # noqa: ARG002
    ) -> Machine:
        """Return what has changed this host."""
        if self._machine is None:
            raise RuntimeError("inherit() comes first")
        return self._machine

    def share_ports(self, ports: OwnPorts, changes: Machine) -> None:
        """Go on with the ports that are shared."""
        is_on = self._config.sysctl.reserve_local_ports
        ports.go_on(self._handover.ports, changes, is_on=is_on)

    async def divert(self, divert: Divert, engine: Conversation, diverting: Diverting) -> None:
        """Have packets go to the new engine, and the one before end."""
        await to_thread(divert.prepare)
        await engine.settled()  # right before: what is to be diverted is forgotten with an engine
        began = time.monotonic()
        diverting.up()
        await self._before.leave()
        engine.start()
        await engine.started()
        self._pause_s = time.monotonic() - began
        await self._before.end()

    def tell(self, engine: Conversation) -> None:
        """Answer who asked for the upgrade, and note what came of it."""
        told = {
            "before": self._handover.version,
            "after": __version__,
            "pause_ms": round(self._pause_s * 1000, 1),
            "connections": engine.connections,
        }
        by, now = self._handover.by, datetime.now(UTC)
        log.info("upgraded", by=by, **told)
        done = self.counters.get("upgrades", {}).get("done", 0)
        self.counters["upgrades"] = {"done": done + 1}
        at = now.isoformat(timespec="seconds")
        self.counters["last_upgrade"] = {"at": at, "by": by, **told}
        self._answer(encode_line({"result": told}))

    def abandon(self) -> None:
        """Undo all of it as a stop does, in a loop of its own."""
        if self._is_inherited:
            return
        raise_limits()
        with suppress(Exception):  # each step has said what it could not do
            asyncio.run(self._abandoned())

    async def _abandoned(self) -> None:
        daemon = self._config.daemon
        divert = Divert(self.queue, on_crash=daemon.on_crash)
        pause = Pause(daemon.hold_s, divert, NoEngine())
        ground = Ground(
            *(pause, divert, ControlServer(_unanswered, daemon.control), pause.stop_diverting),
            lambda changes: finish(changes, divert, daemon.control),
        )
        async with Unwinding(None, daemon.control) as undo:
            self.inherit(ground, undo.then)

    def fail(self, why: str) -> None:
        """Tell who asked for it."""
        text = f"lvsd {__version__} could not go on and has ended: {why}"
        self._answer(encode_error(Code.INTERNAL, text))

    def _answer(self, line: bytes) -> None:
        with suppress(OSError):
            self._client.settimeout(0)
            self._client.sendall(line)
        self._client.close()


def undone(changes: Machine) -> None:
    """Put back what was changed, and log it; the journal stays."""
    say(changes.undo(), log.info, "put back")


def finish(changes: Machine, divert: Divert, control: Path) -> None:
    """Try again what could not be undone; only when nothing is left let the journal go.

    Raise KernelError when something is left.
    """
    divert.down()
    say(changes.restore(), log.info, "put back")
    if not changes.is_as_it_was:
        raise KernelError("put everything back", "something is left", remedy(control))


async def _unanswered(_line: bytes, _peer: Peer) -> AsyncGenerator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for each in nothing:
        yield each


def next_queue(configured: int, used: int) -> int:
    """Return the other queue of the two that an lvsd uses in turn."""
    other = configured + 1 if configured < HIGHEST else configured - 1
    return other if used == configured else configured


def say(lines: Iterable[str], tell: Callable[..., object], what: str) -> None:
    """Log what was done, line by line, and what was left undone, by a warning."""
    for line in lines:
        if isinstance(line, Unfinished):
            log.warning("left behind", what=line)
        else:
            tell(what, done=line)


def _say_orphan(process: int) -> None:
    log.warning("waiting for the engine of an lvsd that was killed to end", process=process)
