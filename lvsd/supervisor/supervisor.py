"""The supervisor: all that lvsd does but move packets, and the order in which it starts and ends.

What is started is undone in reverse, whatever ends the daemon: SIGTERM, SIGINT, or an error half
way through the start. The order matters: an engine has the queue before packets are diverted into
it, diverting ends before the engine does, and the VIP is ours only while packets are diverted. The
journal of what was changed is there first and goes last, once nothing of lvsd's is left.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from asyncio import to_thread
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from lvsd import __version__, notify
from lvsd.assembly import forwarded, local_ranges, virtual_addresses
from lvsd.control.changes import described_empty, written_empty
from lvsd.control.server import ControlServer
from lvsd.core.commands import KeepPorts
from lvsd.engine.messages import Begin
from lvsd.errors import KernelError
from lvsd.io.announcer import Announcer
from lvsd.io.divert import Divert
from lvsd.io.nft import KilledError
from lvsd.io.ruleset_watch import RulesetWatch
from lvsd.log import set_level
from lvsd.net.watch import Watch
from lvsd.running.complaints import Complaints
from lvsd.running.errand import Errand
from lvsd.running.jobs import Job, Jobs
from lvsd.signals import StoppedError
from lvsd.supervisor import check_methods, obstacles, one_thread, own_ports, reload, upgrade
from lvsd.supervisor.beginning import Ground, finish, say, undone
from lvsd.supervisor.check_plans import plans
from lvsd.supervisor.checking import CANNOT_TELL, Checking
from lvsd.supervisor.conversation import Conversation
from lvsd.supervisor.desk import Desk, behind, methods
from lvsd.supervisor.diverting import Diverting
from lvsd.supervisor.door import Door
from lvsd.supervisor.gate import Gate, turn_away
from lvsd.supervisor.neighbours import Neighbours
from lvsd.supervisor.pause import Pause
from lvsd.supervisor.reach import Reach
from lvsd.supervisor.unwinding import Unwinding
from lvsd.supervisor.virtual_addresses import ASTRAY, VirtualAddresses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lvsd.config import model
    from lvsd.core.commands import Change, Command
    from lvsd.core.drains import Emptied
    from lvsd.core.sequence_numbers import Origin
    from lvsd.io.machine import Machine
    from lvsd.io.ruleset import Diverted
    from lvsd.running.complaints import Obstacle
    from lvsd.signals import StopRequest
    from lvsd.supervisor.beginning import Beginning
    from lvsd.supervisor.door import Maker
    from lvsd.supervisor.forker import Forker
    from lvsd.supervisor.unwinding import Reserve

TICK_S: Final = 1.0

TOGETHER_S: Final = 1.0
"""How long a signal that killed nft may take to reach us: systemd signals processes in turn."""

LEARN_PERIOD_S: Final = 600.0
"""How often routes are looked up without a change: what ICMP said of a path's MTU may be over."""

LEARN_AGAIN_S: Final = 5.0
"""How soon they are looked up once more when that failed."""

COMPLAINT: Final = "cannot look up routes"

log = structlog.get_logger("lvsd")


class Supervisor:
    """A running lvsd, as the configuration of a ``file`` says.

    ``make_origin`` makes where an engine's FULLNAT numbers begin; ``beginning`` is whether an lvsd
    before this one has left anything.
    """

    def __init__(
        self,
        file: Path,
        config: model.Config,
        stop: StopRequest,
        forker: Forker,
        make_origin: Callable[[], Origin],
        beginning: Beginning,
    ) -> None:
        self.config = config
        self._beginning = beginning
        self._stop = stop
        self._forker = forker
        self._make_origin = make_origin
        self._own_ports = own_ports.OwnPorts()
        self._manager = notify.Notifier()
        self._stopped = asyncio.Event()
        self._watchdog_s = notify.watchdog_s()
        self._complaints = Complaints(time.monotonic)
        self._divert = Divert(beginning.queue, on_crash=config.daemon.on_crash)
        self._ruleset = RulesetWatch(self._divert, self._complaints.mended, time.monotonic)
        self._announcer = Announcer()
        self._addresses = VirtualAddresses(virtual_addresses(config), self._announcer)
        self._engine = Conversation(forker, self, self._watchdog_s)
        self._pause = Pause(config.daemon.hold_s, self._divert, self._engine)
        self._neighbours = Neighbours(self._engine.lead)
        wanted, families = beginning.wanted, forwarded(config)
        switches = config.sysctl.forwarding
        self._reach = Reach(wanted, self._engine, self._neighbours, families, switches=switches)
        self._checking = Checking(wanted, self._change, self._complaints)
        self.door = Door(wanted, self._prepare, self._engine.apply, follow=self._checking.changed)
        self._reloads = reload.Reloads(
            *(file, config, self._manager, self.door.change),
            *(self._prepare_for, self._follow, self._summary, beginning.counters),
        )
        self._ready = Gate("lvsd is starting: ask again")
        answered = methods(self.door)
        answered |= behind(self._ready, reload.methods(self._reloads, self.door))
        answered |= behind(self._ready, check_methods.methods(self._checking, wanted))
        desk = Desk(self._engine.ask, answered)
        for_all = config.daemon.control_readers == "all"
        self._control = ControlServer(desk.ask, config.daemon.control, for_all=for_all)
        self._upgrades = upgrade.Upgrades(
            upgrade.Parts(
                *(beginning.began, beginning.queue, self._reloads, self.door, self._control),
                *(self._divert, self._engine, forker, self._own_ports, self._manager),
                *(desk, self._stopped, beginning.counters),
            )
        )
        answered.update(behind(self._ready, upgrade.methods(self._upgrades)))
        self._diverting = Diverting(self._divert, self._ruleset, lambda: self._engine.diverted)
        self._learning = Errand(self._reach.learn, self._complaints, COMPLAINT, rests=1)
        self._addressing = Errand(self._readdress, self._complaints, ASTRAY, rests=1)
        self._relearning = Job(COMPLAINT, lambda _: self._learning.soon(), LEARN_PERIOD_S)
        self._jobs = Jobs(self._all_jobs(), self._complaints, time.monotonic)

    async def serve(self, reserve: Reserve) -> None:
        """Start everything, run until a signal, undo everything; ``reserve`` is for the undo.

        Garbage is looked for from when all is up.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complaints.of_loop)
        stopped = self._stopped
        loop.add_signal_handler(signal.SIGHUP, self._reloads.signalled)
        upgrade.unblock()
        self.beat()
        async with Unwinding(reserve, self.config.daemon.control) as undo:
            try:
                await self._start(loop, undo)
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, stopped.set)
                self._stop.check()
            except (StoppedError, KilledError) as end:
                if isinstance(end, KilledError) and not await self._stop.comes(TOGETHER_S):
                    raise
                self._pause.comes(was_ready=False)
                self._manager.send(notify.STOPPING)
                log.info("stopping before it was ready")
                return
            # A configuration is many objects, and next to none is garbage.
            gc.freeze()
            gc.enable()
            log.info("ready", **self._facts())
            self._manager.send(notify.READY, notify.status(self._summary()))
            self._beginning.tell(self._engine)
            self._pause.ready()
            undo.then("stop reloading", self._reloads.stop)
            undo.then("stop upgrading", self._upgrades.stop)
            undo.then("stop checking real servers", self._checking.stop)
            self._checking.start(plans(self.config))
            self._reloads.ready()
            self._ready.open()
            both = self._engine.ended(), self._jobs.run(TICK_S)
            running = [asyncio.create_task(each) for each in both]
            for task in running:
                undo.cancel("end a task", task)
                task.add_done_callback(lambda _: stopped.set())
            await stopped.wait()
            self._manager.send(notify.STOPPING)
            log.info("stopping", connections=self._engine.connections)
            for task in running:
                if task.done() and not task.cancelled():
                    task.result()  # an error ended it, and with it the daemon
            self._pause.comes(was_ready=True)
        log.info("stopped")

    async def _start(self, loop: asyncio.AbstractEventLoop, undo: Unwinding) -> None:
        """Start one thing after the other, each with its undo, which comes first where it can.

        Raise StoppedError between two steps once somebody has asked for a stop.
        """

        def then(what: str, step: Callable[[], Awaitable[None] | None]) -> None:
            undo.then(what, step)
            self._stop.check()

        undo.then("end the process that forks", self._forker.close)
        ground = Ground(
            *(self._pause, self._divert, self._control, self._stop_diverting, self._finish)
        )
        self._beginning.inherit(ground, undo.then)  # all of it, before anything can fail
        self._stop.check()
        self._forker.start(loop)
        await one_thread.ready(loop)
        changes = await self._beginning.take_over(ground, then, self._stop.check)
        self._beginning.share_ports(self._own_ports, changes)
        self.door.wanted.do([KeepPorts(self._own_ports.kept)])
        then("end the engine", self._pause.end_engine)
        await self._engine.open()
        # It works on that while we make the rest of it, and look at the network.
        self._engine.configure(self.door.wanted, self._beginning.commands())
        watch = Watch(self._network_changed)
        then("stop watching the network", watch.close)
        watch.start(loop)
        then("stop looking at the network", self._learning.stop)
        then("stop following neighbours", self._neighbours.close)
        await self._neighbours.start()
        await self._reach.learn()
        then("close the control socket", self._control.stop)
        await self._control.start()
        gates = self._ready, self._engine.gate
        then("answer those who wait", partial(turn_away, gates, self._control, self.door))
        then("stop diverting packets", self._stop_diverting)
        await self._beginning.divert(self._divert, self._engine, self._diverting)
        then("stop watching the ruleset", self._ruleset.close)
        self._ruleset.start(loop)
        if not self._divert.is_owned:
            log.warning("flushing the ruleset will lose packets: this kernel is older than 5.12")
        # Last to come and first to go: while the VIP is one of our addresses and packets are not
        # diverted, our own TCP would answer established connections with a RST.
        then("put back what was changed", lambda: to_thread(undone, changes))
        then("stop keeping virtual addresses", lambda: to_thread(self._addresses.stop))
        then("stop looking after virtual addresses", self._addressing.stop)
        await to_thread(self._change_machine, changes)
        if any(virtual_addresses(self.config)):
            await self._reach.learn()  # our addresses are more now
        self._engine.ready()
        self._relearning.due = time.monotonic() + LEARN_PERIOD_S
        self._complaints.obstacles(self._obstacles())

    def _change_machine(self, changes: Machine) -> None:
        self._reach.start(changes)
        self._addresses.start(changes, time.monotonic(), self._stop.check)

    def _stop_diverting(self) -> None:
        self._diverting.end()
        self._pause.stop_diverting()

    def _finish(self, changes: Machine) -> None:
        self._manager.close()
        finish(changes, self._divert, self.config.daemon.control)

    # --- the engine -----------------------------------------------------------------------------

    def begin(self) -> Begin:
        """Return what an engine begins with."""
        daemon = self.config.daemon
        return Begin(
            self._beginning.queue,
            daemon.queue_length,
            self.door.wanted.settings,
            self._make_origin(),
            self.door.wanted.kept_ports,
            self._beginning.began,
            min(TICK_S, (self._watchdog_s or TICK_S) / 2),
            self._pause.state,
            daemon.log_level,
        )

    def divert(self, more: Diverted | None) -> None:
        """Divert this as well; None: something has to be diverted no longer."""
        self._diverting.follow(more, self._jobs)

    def ask(self, addresses: Iterable[bytes]) -> None:
        """Look for neighbours, packed addresses, or make sure that they are where they were."""
        self._neighbours.ask(addresses)

    def beat(self) -> None:
        """Tell systemd's watchdog that the engine is well, and so are we."""
        if self._watchdog_s:
            self._manager.send(notify.WATCHDOG)

    def emptied(self, server: Emptied) -> None:
        """Tell who waits for a drained server to be empty that it is."""
        log.info("a drained server has no connections", **described_empty(server))
        self.door.tell(written_empty(server))

    def counters(self) -> Mapping[str, Mapping[str, int | str]]:
        """Return what is counted here, by group."""
        return {
            "virtual_addresses": self._addresses.counters(),
            "ruleset": {"put_up_again": self._ruleset.mended},
            "engine": self._engine.counters(),
            "control": self._control.counters(),
            **self._checking.counters(),
            **self._reloads.counters(),
            **self._upgrades.counters(),
        }

    def check(self) -> None:
        """Raise StoppedError once somebody has asked for a stop."""
        self._stop.check()

    def left(self, addresses: frozenset[bytes]) -> None:
        """Take note of the removed real servers that still have connections."""
        self._reach.left(addresses)

    # --- changes --------------------------------------------------------------------------------

    async def _change(self, commands: Maker, by: str) -> object:
        return await self.door.change(commands, by)

    async def _prepare(self, changes: Sequence[Change]) -> Sequence[Command]:
        """Do what has to be done before changes; return commands that are to come first."""
        await self._engine.gate.passed()
        await self._reach.prepare(changes)
        return await self._own_ports.prepare(changes, self.door.wanted.kept_ports)

    async def _prepare_for(self, config: model.Config) -> None:
        """Do what has to be done before a configuration is in force. Raise KernelError."""
        await self._reach.want(forwarded(config), switches=config.sysctl.forwarding)
        if config.sysctl.reserve_local_ports:
            await self._own_ports.switch_on(local_ranges(config))

    async def _follow(self, config: model.Config) -> str:
        """Do what else a configuration says, once it is in force; return what is refused of it."""
        self.config = config
        self._pause.hold_s = config.daemon.hold_s
        set_level(config.daemon.log_level)
        self._engine.log_level(config.daemon.log_level)
        wanted = list(virtual_addresses(config))
        try:
            self._checking.want(plans(config))
            say(await to_thread(self._addresses.want, wanted, time.monotonic()), log.info, "done")
        except KernelError as error:
            self._complaints.fault(ASTRAY, error)
            return f"{ASTRAY}: {error}"
        finally:
            self._learning.soon()  # our addresses may be others now
        return ""

    # --- the network ----------------------------------------------------------------------------

    def _network_changed(self) -> None:
        """Take in that links, addresses or routes changed."""
        self._addresses.changed()
        self._addressing.soon()
        self._learning.soon()

    async def _readdress(self) -> None:
        await to_thread(self._addresses.look, time.monotonic())

    # --- what has its time ----------------------------------------------------------------------

    def _all_jobs(self) -> Iterator[Job]:
        """Yield what is done once a second or less often, the most important first."""
        yield Job("cannot see whether the engine lives", self._engine.look)
        yield self._diverting.job
        yield Job(ASTRAY, lambda _: self._addressing.soon())
        yield Job("cannot announce the virtual addresses", self._announcer.tick)
        look = "cannot look for obstacles"
        yield Job(look, lambda _: self._complaints.obstacles(self._obstacles()))
        yield self._relearning
        yield Job(CANNOT_TELL, lambda _: self._checking.again())
        yield Job(COMPLAINT, lambda _: self._learning.again(), LEARN_AGAIN_S)

    def _obstacles(self) -> Iterator[Obstacle]:
        """Yield what will keep packets from being forwarded. Raise OSError."""
        yield from obstacles.of_forwarding(self._reach.families, self._reach.switched)
        yield from self._addresses.obstacles()

    def _facts(self) -> dict[str, object]:
        services, servers = self.door.wanted.count()
        return {
            "version": __version__,
            "services": services,
            "servers": servers,
            "queue": self._beginning.queue,
            "control": str(self.config.daemon.control),
        }

    def _summary(self) -> str:
        return "services: {services}, real servers: {servers}".format(**self._facts())
