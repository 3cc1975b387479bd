"""The composition root: the only module that knows all the others, and ties them together.

What is started is undone in reverse, whatever ends the daemon: SIGTERM, SIGINT, or an error half
way through the start. The order matters: the queue is open before packets are diverted into it,
diverting ends before the queue is closed, and the VIP is ours only while packets are diverted.
The journal of what was changed is there first and goes last, once nothing of ours is left.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop

from lvsd import __version__, notify
from lvsd.assembly import assemble, diverted, diverting, forwarded, local_ranges, virtual_addresses
from lvsd.control.server import ControlServer
from lvsd.control.stale import remove_stale
from lvsd.core.sequence_numbers import NEW
from lvsd.errors import KernelError, environment_error
from lvsd.io import machine, routes
from lvsd.io.announcer import Announcer
from lvsd.io.divert import Divert, Diverted
from lvsd.io.frame_sender import FrameSender
from lvsd.io.icmp_sender import IcmpSender, target_every_s
from lvsd.io.journal import journal_path
from lvsd.io.nfqueue import QueueSource
from lvsd.io.nft import KilledError
from lvsd.io.origin import origin
from lvsd.io.packet_sender import PacketSender
from lvsd.io.ruleset_watch import RulesetWatch
from lvsd.running import obstacles, own_ports
from lvsd.running.complaints import Complaints
from lvsd.running.farewell import reset_translated
from lvsd.running.jobs import Job, Jobs
from lvsd.running.learning import COMPLAINT, Learning, learn_all
from lvsd.running.pressure import Pressure
from lvsd.running.unwinding import Reserve, Unwinding
from lvsd.running.virtual_addresses import ASTRAY, VirtualAddresses
from lvsd.running.watchdog import Watchdog
from lvsd.signals import StoppedError
from lvsd.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path
    from typing import NoReturn

    from lvsd.config import model
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.verdict import Departure
    from lvsd.signals import StopRequest

TICK_S = 1.0

TOGETHER_S = 1.0
"""How long a signal that killed nft may take to reach us: systemd signals processes in turn."""

LEARN_PERIOD_S = 600.0
"""How often routes are looked up without a change: what ICMP said of a path's MTU may be over."""

TIMERS_ENDURE = 60
"""Failures of the timers in a row, one a second, after which the daemon ends: with no entry
expiring the table only grows, and a new daemon has at least its memory."""

# A million connections are a million objects that a full collection would walk, holding up every
# packet meanwhile. They form no cycles; only the young are looked through.
GC_THRESHOLDS = (50_000, 50, 1_000_000)

log = structlog.get_logger("lvsd")


def run(config: model.Config, stop: StopRequest) -> int:
    """Run the daemon in this network namespace until SIGTERM or SIGINT; return the exit status.

    Raise KernelError or PrivilegeError if it cannot start; nothing is left behind then. ``stop``
    notes the signals already.
    """
    gc.freeze()  # first, as what was loaded and read is nearly all that there is to look through
    gc.enable()
    gc.set_threshold(*GC_THRESHOLDS)
    reserve = Reserve()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.run(Daemon(config, stop, _origin(config)).serve(reserve))
    except (OSError, MemoryError) as error:
        raise environment_error("run lvsd", error) from error
    finally:
        reserve.release()
        with suppress(Exception):  # everything is undone; what ended the daemon is to be told
            runner.close()
    return os.EX_OK


def _origin(config: model.Config) -> Origin:
    """Return where FULLNAT's numbers begin; without FULLNAT no secret is kept for them."""
    return origin(config.daemon.control.parent) if local_ranges(config) else NEW


def cleanup(control: Path) -> int:
    """Say what is left of a killed daemon and remove it; return 0, or 71 if any of it stays."""
    lines = machine.cleanup(journal_path(control.parent))
    with suppress(OSError):  # a living daemon's, in another network namespace
        lines += [f"removed the control socket {control}"] if remove_stale(control) else []
    for line in lines or ["nothing was left behind"]:
        print(line)  # noqa: T201 - the answer to a command
    return os.EX_OSERR if any(isinstance(line, machine.Unfinished) for line in lines) else os.EX_OK


class Daemon:
    """A running lvsd: one director, one queue, one control socket."""

    def __init__(self, config: model.Config, stop: StopRequest, origin: Origin = NEW) -> None:
        self.config = config
        self._stop = stop
        self.balancer = assemble(config, time.monotonic(), origin)
        self.answers = IcmpSender()
        self.packets = PacketSender()
        self.frames = FrameSender(time.monotonic, self._return_too_long)
        self.complaints = Complaints(time.monotonic)
        self._forwarded = forwarded(config)
        self._diverting = False
        self.manager = notify.Notifier()
        self.divert = Divert(config.daemon.queue, on_crash=config.daemon.on_crash)
        self.ruleset = RulesetWatch(self.divert, self.complaints.mended, time.monotonic)
        self.source = QueueSource(
            config.daemon.queue,
            self.balancer.handle,
            clock=time.monotonic,
            queue_length=config.daemon.queue_length,
            after_turn=self.send_waiting,
            on_error=self.complaints.of_packets,
        )
        self.pressure = Pressure(self.balancer, self.source.lost)
        self.turns = Turns(lambda: self.source.received)
        self.ways = Learning(self._learning_steps, self.turns, self.complaints)
        self.learning = Job(COMPLAINT, lambda _: self.ways.soon(), LEARN_PERIOD_S)
        self.announcer = Announcer()
        self.addresses = VirtualAddresses(virtual_addresses(config), self.announcer)
        self.readdressing = Learning(
            lambda: self.addresses.looking(time.monotonic()), self.turns, self.complaints, ASTRAY
        )
        self.addressing = Job(ASTRAY, lambda _: self.readdressing.soon())
        self.watchdog = Watchdog(self.source, self.manager)
        self.jobs = Jobs(self._jobs(), self.complaints, time.monotonic)

    async def serve(self, reserve: Reserve) -> None:
        """Start everything, run until a signal, undo everything; ``reserve`` is for the undo."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.complaints.of_loop)
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP ignored: restart to reload")
        async with Unwinding(reserve) as undo:
            try:
                await self._start(loop, undo)
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, stopped.set)
                self._stop.check()
            except (StoppedError, KilledError) as end:
                if isinstance(end, KilledError) and not await self._stop.comes(TOGETHER_S):
                    raise
                self.manager.send(notify.STOPPING)
                log.info("stopping before it was ready")
                return
            self.manager.send(notify.READY, notify.status(self._summary()))
            log.info("ready", **self._facts())
            running = [asyncio.create_task(each) for each in (self._run_timers(), self._run_jobs())]
            for task in running:
                undo.then("end a task", partial(_cancel, task))
                task.add_done_callback(lambda _: stopped.set())
            await stopped.wait()
            self.manager.send(notify.STOPPING)
            log.info("stopping", connections=self.balancer.flows.table.count)
            for task in running:
                if task.done() and not task.cancelled():
                    task.result()  # an error ended it, and with it the daemon
        log.info("stopped")

    async def _start(self, loop: asyncio.AbstractEventLoop, undo: Unwinding) -> None:
        """Start one thing after the other, each with its undo, which comes first where it can.

        Raise StoppedError between two steps once somebody has asked for a stop.
        """

        def then(what: str, step: Callable[[], Awaitable[None] | None]) -> None:
            undo.then(what, step)
            self._stop.check()

        daemon = self.config.daemon
        journal = journal_path(daemon.control.parent)
        for line in machine.take_over(journal):
            log.warning("cleaned up what a killed lvsd left", done=line)
        changes = machine.Machine(journal)
        then("put everything back", lambda: self._finish(changes))
        then("close the queue", self.source.close)
        self.source.open()
        then("close the ICMP sockets", self.answers.close)
        self.answers.open()
        self.balancer.outbox.limits.target_every_s.update(target_every_s())
        then("close the raw sockets", self.packets.close)
        self.packets.open()
        then("close the packet sockets", self.frames.close)
        self.frames.open(loop)
        control = ControlServer(
            self.balancer, daemon.control, counters=self.counters, turns=self.turns
        )
        then("close the control socket", control.stop)
        await control.start()
        watch = routes.Watch(self.network_changed)
        then("stop watching routes", watch.close)
        watch.start(loop)
        self.ways.now(self._stop.check)
        self.source.start(loop)
        then("stop reading the queue", self.source.stop)
        then(
            "reset FULLNAT connections", partial(reset_translated, self.balancer, self.send_waiting)
        )
        then("stop diverting packets", self._stop_diverting)
        self.divert.up(self.diverted)
        self._diverting = True
        then("stop watching the ruleset", self.ruleset.close)
        self.ruleset.start(loop)
        if not self.divert.is_owned:
            log.warning("flushing the ruleset will lose packets: this kernel is older than 5.12")
        # Last to come and first to go: while the VIP is an address of ours and packets are not
        # diverted, our own TCP would answer established connections with a RST.
        then("put back what was changed", lambda: _say_put_back(changes.undo()))
        then("stop keeping virtual addresses", self.addresses.stop)
        then("stop looking after virtual addresses", self.readdressing.stop)
        self._change_machine(changes)
        then("stop looking up routes", self.ways.stop)
        if any(virtual_addresses(self.config)):
            self.ways.now(self._stop.check)  # our addresses are more now
        self.learning.due = time.monotonic() + LEARN_PERIOD_S
        self.complaints.obstacles(self._obstacles())

    def _stop_diverting(self) -> None:
        self._diverting = False
        self.divert.down()

    def _finish(self, changes: machine.Machine) -> None:
        """Try again what could not be undone; only when nothing is left let the journal go.

        Raise KernelError when something is left.
        """
        self.manager.close()
        self.divert.down()
        _say_put_back(changes.restore())
        if not changes.is_as_it_was:
            raise KernelError("put everything back", "something is left", "run `lvsd cleanup`")

    def _change_machine(self, changes: machine.Machine) -> None:
        if self.config.sysctl.forwarding:
            for family in sorted(self._forwarded):
                changes.forward(family)
        if self.config.sysctl.reserve_local_ports:
            own_ports.share(self.balancer.flows.local_ports, local_ranges(self.config), changes)
        self.addresses.start(changes, time.monotonic(), self._stop.check)

    @property
    def diverted(self) -> Diverted:
        """What the present services need to have diverted."""
        return diverted(self.balancer.services)

    def _learning_steps(self) -> Iterator[None]:
        """Learn what is there, and do by it, step by step. Raise KernelError."""
        yield from learn_all(self.balancer, self.packets, self.frames)
        if self._diverting:  # else not all of our addresses are there
            self.divert.update((yield from diverting(self.balancer.services)))
            yield
            self.complaints.obstacles(self._obstacles())

    def network_changed(self) -> None:
        """Take in that links, addresses or routes changed."""
        self.addresses.changed()
        self.jobs.attempt(self.addressing)
        self.relearn_routes()

    def relearn_routes(self) -> None:
        """Look them up again; where the kernel does not answer, go on with what is known."""
        self.jobs.attempt(self.learning)

    def _obstacles(self) -> Iterator[obstacles.Obstacle]:
        """Yield what will keep packets from real servers. Raise OSError."""
        yield from obstacles.of_services(self.balancer, self.frames.problems())
        switched_on = self._forwarded if self.config.sysctl.forwarding else ()
        yield from obstacles.of_forwarding(self._forwarded, switched_on)
        yield from self.addresses.obstacles()

    def send_waiting(self) -> None:
        """Send what the last packets brought about: packets by our own sockets, ICMP errors."""
        balancer = self.balancer
        while balancer.outbox.departures:
            departures = balancer.outbox.departures.copy()
            balancer.outbox.departures.clear()
            now = time.monotonic()
            for each in departures:
                if each.neighbour is None:
                    mtu = self.packets.send(each.data)
                else:
                    mtu = self.frames.send(each, each.neighbour, now)
                if mtu:
                    balancer.forwarding.too_long(each, mtu)
        for answer in balancer.outbox.answers:
            self.answers.send(answer.message, answer.destination)
        balancer.outbox.answers.clear()

    def _return_too_long(self, waited: Departure, mtu: int) -> None:
        """Cut a packet that waited for a MAC while its way became narrower, or tell its sender."""
        self.balancer.forwarding.too_long(waited, mtu)
        asyncio.get_running_loop().call_soon(self.send_waiting)

    def _report(self) -> None:
        """Log what schedulers raised while they were told of something, and what is amiss."""
        for service in self.balancer.services:
            if service.fault is not None:
                self.complaints.of_packets(service.fault)
                service.fault = None
        if not self.ways.busy:  # else half of it is known
            self.complaints.obstacles(self._obstacles())

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what is counted around the director, for the control socket."""
        told = self.balancer.flows.client_address
        return {
            "queue": asdict(self.source.stats),
            "refusals": asdict(self.balancer.strays.refusals),
            "table": self.pressure.counters(),
            "table_lost_by_service": self.balancer.flows.admission.lost(),
            "icmp": asdict(self.answers.stats) | self.balancer.outbox.limits.counters(),
            "packets": asdict(self.packets.stats),
            "frames": asdict(self.frames.stats),
            "virtual_addresses": self.addresses.counters(),
            "ruleset": {"put_up_again": self.ruleset.mended},
            "client_address": {"told": told.told, "no_room": told.no_room, "forged": told.forged},
        }

    async def _run_timers(self) -> NoReturn:
        """Run the core's timers once a second, in turns with packets where there is much to do."""
        timers = Job("the timers of connections failed", self._tick, endures=TIMERS_ENDURE)
        more: object = False
        while True:
            await asyncio.sleep(0 if more else TICK_S)
            more = self.jobs.attempt(timers)

    def _tick(self, now: float) -> bool:
        more = self.balancer.tick(now)
        self.send_waiting()
        return more

    async def _run_jobs(self) -> NoReturn:
        """Do everything else that has its time, and feed systemd's watchdog."""
        await self.jobs.run(min(TICK_S, self.watchdog.pause_s or TICK_S))

    def _jobs(self) -> Iterator[Job]:
        """Yield what is done once a second or less often, the most important first."""
        dog = self.watchdog
        if dog.pause_s:
            yield Job("cannot read the statistics of the queue", dog.look, 0.0, dog.beat)
        yield Job("cannot keep packets diverted", lambda _: self.ruleset.check())
        yield self.addressing
        yield Job("cannot announce the virtual addresses", self.announcer.tick)
        yield Job("cannot report packets that the queue lost", self.pressure.tick)
        yield Job("cannot ask neighbours", self.frames.tick)
        yield Job("cannot look for obstacles", lambda _: self._report())
        yield self.learning

    def _facts(self) -> dict[str, object]:
        services = self.balancer.services
        return {
            "version": __version__,
            "services": len(services),
            "servers": sum(len(service.servers) for service in services),
            "queue": self.config.daemon.queue,
            "control": str(self.config.daemon.control),
        }

    def _summary(self) -> str:
        return "services: {services}, real servers: {servers}".format(**self._facts())


def _cancel(task: asyncio.Task[NoReturn]) -> None:
    task.cancel()


def _say_put_back(lines: Iterable[str]) -> None:
    for line in lines:
        if isinstance(line, machine.Unfinished):
            log.warning("left behind", what=line)
        else:
            log.info("put back", done=line)
