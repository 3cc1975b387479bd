"""The composition root: the only module that knows all the others, and ties them together.

What is started is undone in reverse, whatever ends the daemon: SIGTERM, SIGINT, or an error half
way through the start. The order matters: the queue is open before packets are diverted into it,
diverting ends before the queue is closed, and the VIP is ours only while packets are diverted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from lvsd import __version__, notify
from lvsd.assembly import assemble, diverted, forwarded
from lvsd.control.server import ControlServer
from lvsd.core.service import ANY_MTU
from lvsd.errors import KernelError
from lvsd.io import divert, machine, routes, sysctls
from lvsd.io.frame_sender import FrameSender
from lvsd.io.icmp_sender import IcmpSender
from lvsd.io.journal import journal_path
from lvsd.io.nfqueue import QueueSource
from lvsd.io.packet_sender import PacketSender
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.config import model
    from lvsd.core.service import RealServer

TICK_S = 1.0
REPORT_PAUSE_S = 10.0
UNANSWERED = 3
"""Repeated SYNs, with no client answered in between, from which on a server is called silent."""

_SILENT = "clients repeat their SYNs: a real server seems not to answer them"

LEARN_PERIOD_S = 600.0
"""How often routes are looked up without a change: what ICMP said of a path's MTU may be over."""


# A million connections are a million objects that a full collection would walk, holding up every
# packet meanwhile. They form no cycles; only the young are looked through.
GC_THRESHOLDS = (50_000, 50, 1_000_000)

log = structlog.get_logger("lvsd")


def run(config: model.Config) -> int:
    """Run the daemon in this network namespace until SIGTERM or SIGINT; return the exit status.

    Raise KernelError or PrivilegeError if it cannot start; nothing is left behind then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Daemon(config).serve())
    return os.EX_OK


def cleanup(directory: Path) -> int:
    """Remove what a killed daemon of this network namespace left; say so; return 0.

    Raise KernelError if that daemon lives.
    """
    for line in machine.cleanup(journal_path(directory)) or ["nothing was left behind"]:
        print(line)  # noqa: T201 - the answer to a command
    return os.EX_OK


class Daemon:
    """A running lvsd: one director, one queue, one control socket."""

    def __init__(self, config: model.Config) -> None:
        self.config = config
        self.director = assemble(config, time.monotonic())
        self.answers = IcmpSender()
        self.packets = PacketSender()
        self.frames = FrameSender(time.monotonic)
        self._quiet_until = 0.0
        self._learn_again = 0.0
        self._diverting = False
        self._said: set[str] = set()
        self.divert = divert.Divert(config.daemon.queue, on_crash=config.daemon.on_crash)
        self.source = QueueSource(
            config.daemon.queue,
            self.director.handle,
            clock=time.monotonic,
            queue_length=config.daemon.queue_length,
            after_turn=self.send_waiting,
            on_error=self.report_error,
        )

    async def serve(self) -> None:
        """Start everything, run until a signal, undo everything."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP ignored: restart to reload")
        async with AsyncExitStack() as undo:
            await self._start(loop, undo)
            notify.notify(notify.READY, notify.status(self._summary()))
            log.info("ready", **self._facts())
            ticking = asyncio.create_task(self._tick())
            undo.callback(ticking.cancel)
            ticking.add_done_callback(lambda _: stopped.set())
            await stopped.wait()
            notify.notify(notify.STOPPING)
            log.info("stopping", connections=self.director.table.count)
        log.info("stopped")
        if ticking.done() and not ticking.cancelled():
            ticking.result()  # an error ended it, and with it the daemon

    async def _start(self, loop: asyncio.AbstractEventLoop, undo: AsyncExitStack) -> None:
        daemon = self.config.daemon
        journal = journal_path(daemon.control.parent)
        if journal.exists():
            for line in machine.cleanup(journal):
                log.warning("put right what a killed lvsd left", done=line)
        changes = machine.Machine(journal)
        undo.callback(self._restore, changes)
        self.source.open()
        undo.callback(self.source.close)
        self.answers.open()
        undo.callback(self.answers.close)
        self.packets.open()
        undo.callback(self.packets.close)
        self.frames.open(loop)
        undo.callback(self.frames.close)
        control = ControlServer(self.director, daemon.control, counters=self.counters)
        await control.start()
        undo.push_async_callback(control.stop)
        watch = routes.Watch(self.relearn_routes)
        watch.start(loop)
        undo.callback(watch.close)
        self.learn_routes()
        self.source.start(loop)
        undo.callback(self.source.stop)
        self.divert.up(self.diverted)
        self._diverting = True
        undo.callback(self._stop_diverting)
        # Last to come and first to go: while the VIP is an address of ours and packets are not
        # diverted, our own TCP would answer established connections with a RST.
        undo.callback(self._restore, changes)
        self._change_machine(changes)
        self.learn_routes()  # our addresses are more now
        self._warn()

    def _stop_diverting(self) -> None:
        self._diverting = False
        self.divert.down()

    @staticmethod
    def _restore(changes: machine.Machine) -> None:
        for line in changes.restore():
            log.info("put back", done=line)

    def _change_machine(self, changes: machine.Machine) -> None:
        if self.config.sysctl.forwarding:
            for family in sorted(forwarded(self.config)):
                changes.forward(family)
        for service in self.config.services:
            if service.interface and service.address:
                changes.add_address(service.interface, service.address.address)

    def _warn(self) -> None:
        """Log what will keep NAT's packets from a real server, and is better known now."""
        for family in sorted(forwarded(self.config)):
            name = sysctls.FORWARDING[family]
            switch = Path("/proc/sys", *name.split("."))
            if switch.read_text(encoding="ascii").strip() == "0":
                log.warning(
                    "the kernel does not forward, so no packet reaches a real server",
                    sysctl=name,
                    remedy="set it to 1, or forwarding = true in [sysctl]",
                )

    @property
    def diverted(self) -> divert.Diverted:
        """What the present services need to have diverted."""
        return diverted(self.director.services)

    def _keep_diverting(self) -> None:
        """Put the table up again if somebody flushed the whole ruleset."""
        try:
            if not divert.table_stands():
                self.divert.update(self.diverted)
                log.warning("somebody removed the nftables table; put it up again")
        except KernelError as error:
            log.error("packets are not diverted", error=str(error))  # noqa: TRY400 - it says all

    def learn_routes(self) -> None:
        """Look up our addresses, all links' MTUs, and the ways to real servers.

        Raise KernelError.
        """
        director = self.director
        self._learn_again = time.monotonic() + LEARN_PERIOD_S
        director.link_mtus = routes.link_mtus()
        own = director.local_addresses = frozenset(
            address for _, address in routes.local_addresses()
        )
        servers = [server for service in director.services for server in service.servers]
        mtus = routes.route_mtus(server.address for server in servers)
        sources = routes.sources(server.address for server in servers)
        for server in servers:
            address = server.address
            server.set_way(mtus[address] or ANY_MTU, sources[address], is_local=address in own)
        self.packets.refresh()
        self.frames.refresh()
        if self._diverting:  # else not all of our addresses are there
            self.divert.update(self.diverted)
            self._say_once(self._obstacles())

    def relearn_routes(self) -> None:
        """Look them up again; where the kernel does not answer, go on with what is known."""
        try:
            self.learn_routes()
        except KernelError as error:
            log.error("cannot look up routes", error=str(error))  # noqa: TRY400 - it says all

    def _obstacles(self) -> Iterator[tuple[str, str, str]]:
        """Yield what will keep packets from real servers: what, about whom, what to do."""
        director = self.director
        own = director.local_addresses or frozenset()
        for service in director.services:
            for address in service.local.addresses:
                if address not in own:
                    remedy = f"ip address add {text(address)}/{8 * len(address)} dev INTERFACE"
                    yield "a local address is none of this host", text(address), remedy
            for server in service.servers:
                if server.source is None:
                    yield "no route to a real server", _name(server), "see `ip route`"
                elif server.is_local and server.way.bypasses and service.key.vip not in {b"", *own}:
                    vip = text(service.key.vip)
                    remedy = f"make {vip} an address of this host, e.g. by `interface`"
                    yield "a real server is this host, but the VIP is not", _name(server), remedy
                if server.unanswered >= UNANSWERED:
                    remedy = "lvsd doctor; on the real server: lvsd realserver status"
                    yield _SILENT, f"{_name(server)} of {service.name}", remedy
        for address, problem in self.frames.problems().items():
            yield problem, text(address), "DR needs real servers on a link of the director's"

    def _say_once(self, obstacles: Iterable[tuple[str, str, str]]) -> None:
        """Log what was not there when this was last asked."""
        found = {f"{what}: {whom}": (what, whom, remedy) for what, whom, remedy in obstacles}
        for key in sorted(found.keys() - self._said):
            what, whom, remedy = found[key]
            log.warning(what, address=whom, remedy=remedy)
        self._said = set(found)

    def send_waiting(self) -> None:
        """Send what the last packets brought about: packets by our own sockets, ICMP errors."""
        director = self.director
        while director.departures:
            departures = director.departures.copy()
            director.departures.clear()
            now = time.monotonic()
            for each in departures:
                if each.neighbour is None:
                    mtu = self.packets.send(each.data)
                else:
                    mtu = self.frames.send(each.data, each.neighbour, now)
                if mtu:
                    director.too_long(each, mtu)
        if director.answers:
            now = time.monotonic()
            for answer in director.answers:
                self.answers.send(answer.message, answer.destination, now)
            director.answers.clear()

    def report_error(self, error: Exception) -> None:
        """Log an error of ours, or of a scheduler, that cost packets; not every one of a flood."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + REPORT_PAUSE_S
            log.error("an error in lvsd, or in a scheduler; packets may be lost", exc_info=error)

    def _report(self) -> None:
        """Log what schedulers raised while they were told of something, and what is amiss."""
        for service in self.director.services:
            if service.fault is not None:
                self.report_error(service.fault)
                service.fault = None
        self._say_once(self._obstacles())

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what is counted around the director, for the control socket."""
        told = self.director.client_address
        return {
            "queue": asdict(self.source.stats),
            "icmp": asdict(self.answers.stats),
            "packets": asdict(self.packets.stats),
            "frames": asdict(self.frames.stats),
            "client_address": {"told": told.told, "no_room": told.no_room, "forged": told.forged},
        }

    async def _tick(self) -> None:
        """Run the timers once a second, and feed systemd's watchdog while packets get verdicts.

        Packets that wait in the queue with none taken since the last beat starve it.
        """
        watchdog = notify.watchdog_s()
        pause = min(TICK_S, watchdog / 2) if watchdog else TICK_S
        more = False
        received = 0
        while True:
            await asyncio.sleep(0 if more else pause)
            now = time.monotonic()
            more = self.director.tick(now)
            self.send_waiting()
            self.frames.tick(now)
            if not more:
                self._keep_diverting()
                self._report()
                if now >= self._learn_again:
                    self.relearn_routes()
            stats = self.source.stats
            if watchdog and (stats.received > received or not stats.waiting):
                notify.notify(notify.WATCHDOG)
            received = stats.received

    def _facts(self) -> dict[str, object]:
        services = self.director.services
        return {
            "version": __version__,
            "services": len(services),
            "servers": sum(len(service.servers) for service in services),
            "queue": self.config.daemon.queue,
            "control": str(self.config.daemon.control),
        }

    def _summary(self) -> str:
        facts = self._facts()
        return f"services: {facts['services']}, real servers: {facts['servers']}"


def _name(server: RealServer) -> str:
    return endpoint(server.address, server.port)
