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

from forwarders import FORWARDERS
from lvsd import __version__, notify
from lvsd.config.plugins import make_scheduler
from lvsd.control.server import ControlServer
from lvsd.core.director import Director
from lvsd.core.service import ANY_MTU, FTP_PORT, RealServer, Service, ServiceKey
from lvsd.core.settings import Settings
from lvsd.core.states import SCTP, TCP, UDP
from lvsd.errors import KernelError
from lvsd.io import divert, machine, routes
from lvsd.io.icmp_sender import IcmpSender
from lvsd.io.journal import journal_path
from lvsd.io.nfqueue import QueueSource
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.config import model

PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
TICK_S = 1.0
REPORT_PAUSE_S = 10.0
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}

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
        self.sender = IcmpSender()
        self._quiet_until = 0.0
        self._unreachable: set[bytes] = set()
        self.divert = divert.Divert(config.daemon.queue, on_crash=config.daemon.on_crash)
        self.source = QueueSource(
            config.daemon.queue,
            self.director.handle,
            clock=time.monotonic,
            queue_length=config.daemon.queue_length,
            after_turn=self.send_answers,
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
        self.sender.open()
        undo.callback(self.sender.close)
        control = ControlServer(self.director, daemon.control, counters=self.counters)
        await control.start()
        undo.push_async_callback(control.stop)
        watch = routes.Watch(self.learn_routes)
        watch.start(loop)
        undo.callback(watch.close)
        self.learn_routes()
        self.source.start(loop)
        undo.callback(self.source.stop)
        self.divert.up(self.diverted)
        undo.callback(self.divert.down)
        # Last to come and first to go: while the VIP is an address of ours and packets are not
        # diverted, our own TCP would answer established connections with a RST.
        undo.callback(self._restore, changes)
        self._change_machine(changes)
        self._warn()

    @staticmethod
    def _restore(changes: machine.Machine) -> None:
        for line in changes.restore():
            log.info("put back", done=line)

    def _change_machine(self, changes: machine.Machine) -> None:
        if self.config.sysctl.forwarding:
            for family in sorted(self._families):
                changes.forward(family)
        for service in self.config.services:
            if service.interface and service.address:
                changes.add_address(service.interface, service.address.address)

    def _warn(self) -> None:
        """Log what will keep packets from a real server, and is better known now."""
        for family in sorted(self._families):
            name = FORWARDING[family]
            switch = Path("/proc/sys", *name.split("."))
            if switch.read_text(encoding="ascii").strip() == "0":
                log.warning(
                    "the kernel does not forward, so no packet reaches a real server",
                    sysctl=name,
                    remedy="set it to 1, or forwarding = true in [sysctl]",
                )
        for service in self.director.services:
            for server in service.servers:
                if server.address in (self.director.local_addresses or ()):
                    log.warning("a real server on the director is not served", server=_name(server))

    @property
    def _families(self) -> set[int]:
        return {entry.address_family for entry in self.config.services}

    @property
    def diverted(self) -> divert.Diverted:
        """What the present services need to have diverted."""
        return diverted(self.director.services)

    def _keep_diverting(self) -> None:
        """Put the table up again if somebody flushed the whole ruleset."""
        try:
            if not divert.table_stands():
                log.warning("somebody removed the nftables table; put it up again")
                self.divert.update(self.diverted)
        except KernelError as error:
            log.error("packets are not diverted", error=str(error))  # noqa: TRY400 - it says all

    def learn_routes(self) -> None:
        """Look up our addresses, and the MTUs of all links and of the ways to real servers."""
        director = self.director
        director.link_mtus = routes.link_mtus()
        director.local_addresses = frozenset(address for _, address in routes.local_addresses())
        servers = [server for service in director.services for server in service.servers]
        mtus = routes.route_mtus(server.address for server in servers)
        for server in servers:
            server.mtu = mtus[server.address] or ANY_MTU
        unreachable = {address for address, mtu in mtus.items() if mtu is None}
        for address in sorted(unreachable - self._unreachable):
            log.warning("no route to a real server", address=text(address))
        self._unreachable = unreachable

    def send_answers(self) -> None:
        """Send the ICMP errors that the last packets brought about."""
        answers = self.director.answers
        if answers:
            now = time.monotonic()
            for answer in answers:
                self.sender.send(answer.message, answer.destination, now)
            answers.clear()

    def report_error(self, error: Exception) -> None:
        """Log an error of ours, or of a scheduler, that cost packets; not every one of a flood."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + REPORT_PAUSE_S
            log.error("an error in lvsd, or in a scheduler; packets may be lost", exc_info=error)

    def _report_faults(self) -> None:
        """Log what schedulers raised while they were told of something."""
        for service in self.director.services:
            if service.fault is not None:
                self.report_error(service.fault)
                service.fault = None

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what is counted around the director, for the control socket."""
        return {"queue": asdict(self.source.stats), "icmp": asdict(self.sender.stats)}

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
            more = self.director.tick(time.monotonic())
            if not more:
                self._keep_diverting()
                self._report_faults()
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


def assemble(config: model.Config, now: float) -> Director:
    """Return a director that has the configuration's services and settings."""
    sysctl = config.sysctl
    settings = Settings(
        expire_nodest_conn=sysctl.expire_nodest_conn,
        expire_quiescent_template=sysctl.expire_quiescent_template,
        conn_reuse_mode=sysctl.conn_reuse_mode,
        sloppy_tcp=sysctl.sloppy_tcp,
        sloppy_sctp=sysctl.sloppy_sctp,
        max_connections=config.daemon.max_connections,
    )
    director = Director(settings, now=now)
    timeouts = config.timeouts
    director.set_timeouts(timeouts.tcp_s, timeouts.tcp_fin_s, timeouts.udp_s)
    for entry in config.services:
        service = make_service(entry)
        director.services.add(service)
        for server in entry.servers:
            service.add(make_server(entry, server))
    return director


def make_service(entry: model.Service) -> Service:
    """Return the service that a ``[[service]]`` describes, still without real servers."""
    if entry.address is None:
        key = ServiceKey(fwmark=entry.fwmark or 0, family=entry.address_family)
    else:
        key = ServiceKey(
            protocol=PROTOCOLS[entry.protocol or "tcp"],
            vip=entry.address.address,
            vport=entry.address.port,
            family=entry.address_family,
        )
    return Service(
        key,
        make_scheduler(entry.scheduler, entry.scheduler_flags),
        name=entry.name,
        persistence_s=entry.persistence_s or 0,
        prefix=entry.persistence_netmask,
        one_packet=entry.one_packet,
    )


def make_server(service: model.Service, server: model.Server) -> RealServer:
    """Return the real server that a ``[[service.server]]`` describes."""
    return RealServer(
        server.address.address,
        server.address.port,
        weight=server.weight,
        upper=server.upper_threshold,
        lower=server.lower_threshold,
        forwarder=FORWARDERS[service.forward_to(server)](),
    )


def diverted(services: Iterable[Service]) -> divert.Diverted:
    """Return what has to be diverted for these services."""
    endpoints: set[tuple[bytes, int, int]] = set()
    marks: set[int] = set()
    servers: set[tuple[bytes, int, int]] = set()
    for service in services:
        key = service.key
        if key.fwmark:
            marks.add(key.fwmark)
        else:
            endpoints.add((key.vip, key.protocol, key.vport))
            if key.protocol == TCP and key.vport == FTP_PORT and service.persistence_s:
                endpoints.add((key.vip, TCP, 0))
        protocols = (TCP, UDP, SCTP) if key.fwmark else (key.protocol,)
        any_port = not key.vport and bool(service.persistence_s)
        for server in service.servers:
            port = 0 if any_port else server.port
            servers |= {(server.address, protocol, port) for protocol in protocols}
    return divert.Diverted(frozenset(endpoints), frozenset(marks), frozenset(servers))


def _name(server: RealServer) -> str:
    return endpoint(server.address, server.port)
