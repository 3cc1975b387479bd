"""How a supervisor begins: from nothing, or with what the one before it has handed over.

The order of a start is the same (`lvsd.supervisor.supervisor`); here is what differs in it. From
nothing an lvsd clears up after one that was killed, has its engine read the queue, and then diverts
packets. After an upgrade packets are diverted all the time, and another engine serves them: the new
one gets a queue of its own, and works out all that it can beforehand. Then the one rule that queues
is turned to it, the engine before writes down its state and ends, and the new one goes on with that
and with the packets that wait. Only that is a pause.
"""

from __future__ import annotations

import socket
import time
from asyncio import to_thread
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from lvsd import __version__
from lvsd.assembly import commands, local_ranges, nothing_of
from lvsd.control.protocol import Code, encode_error, encode_line
from lvsd.io.machine import Machine, Unfinished, take_over
from lvsd.supervisor import orphans
from lvsd.supervisor.predecessor import Predecessor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from lvsd.config import model
    from lvsd.core.commands import Command
    from lvsd.io.divert import Divert
    from lvsd.supervisor.conversation import Conversation
    from lvsd.supervisor.diverting import Diverting
    from lvsd.supervisor.handover import Handover
    from lvsd.supervisor.own_ports import OwnPorts
    from lvsd.supervisor.pause import Pause

    Then = Callable[[str, Callable[[], Awaitable[None] | None]], None]

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
        self.control: int | None = None
        """The control socket, if it is open."""

    def commands(self) -> Iterable[Command]:
        """Return what is wanted at first."""
        return commands(self._config)

    async def clear_up(self, journal: Path, check: Callable[[], None]) -> None:
        """Clear up after an lvsd that was killed; ``check`` may raise what ends that.

        Raise KernelError.
        """
        await to_thread(orphans.outlive, _say_orphan, check)
        said = await to_thread(take_over, journal)
        say(said, log.warning, "cleaned up what a killed lvsd left")

    def pause(self, pause: Pause, directory: Path) -> None:
        """Find out what there is to go on with. Raise KernelError, OSError."""
        pause.begin(directory)

    def machine(self, journal: Path) -> Machine:
        """Return what changes this host. Raise KernelError."""
        return Machine(journal)

    def share_ports(self, ports: OwnPorts, changes: Machine) -> None:
        """Share the host's ports."""
        is_on = self._config.sysctl.reserve_local_ports
        ports.start(local_ranges(self._config), changes, is_on=is_on)

    def inherit(
        self, divert: Divert, then: Then, stop_diverting: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Take over what holds packets, with how it is undone."""

    async def divert(self, divert: Divert, engine: Conversation, diverting: Diverting) -> None:
        """Have the engine take packets, and packets diverted to it. Raise LvsdError."""
        engine.start()
        await to_thread(divert.prepare)  # while it works out what follows from all that
        await engine.started()
        diverting.up()

    def tell(self, engine: Conversation) -> None:
        """Tell who waits for it that all is up."""

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
        self.control = ends["control"]
        self._pause_s = 0.0

    def commands(self) -> Iterable[Command]:
        """Return what was wanted when it was handed over."""
        return self._handed

    async def clear_up(self, journal: Path, check: Callable[[], None]) -> None:
        """Nobody was killed."""

    def pause(self, pause: Pause, directory: Path) -> None:
        """Go on with the connections, and have a start that fails leave them to the next."""
        pause.go_on(directory)

    def machine(self, journal: Path) -> Machine:
        """Go on with what this process has changed on this host."""
        return Machine(journal, is_own=True)

    def share_ports(self, ports: OwnPorts, changes: Machine) -> None:
        """Go on with the ports that are shared."""
        is_on = self._config.sysctl.reserve_local_ports
        ports.go_on(self._handover.ports, changes, is_on=is_on)

    def inherit(
        self, divert: Divert, then: Then, stop_diverting: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Take over the table. Where the start fails packets are held back, and then all ends."""
        then("end the engine before", self._before.end)
        divert.go_on(self._table)
        then("stop diverting packets", stop_diverting)

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

    def fail(self, why: str) -> None:
        """Tell who asked for it."""
        text = f"lvsd {__version__} could not go on and has ended: {why}"
        self._answer(encode_error(Code.INTERNAL, text))

    def _answer(self, line: bytes) -> None:
        with suppress(OSError):
            self._client.settimeout(0)
            self._client.sendall(line)
        self._client.close()


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
