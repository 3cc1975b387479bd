"""The core between its sockets: the queue that packets come by, and the senders."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from lvsd.core.balancer import Balancer
from lvsd.engine.farewell import reset_translated
from lvsd.engine.pressure import Pressure
from lvsd.io.frame_sender import FrameSender
from lvsd.io.icmp_sender import IcmpSender, target_every_s
from lvsd.io.nfqueue import QueueSource
from lvsd.io.packet_sender import PacketSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lvsd.core.succession import SchedulerFactory
    from lvsd.core.verdict import Departure
    from lvsd.engine.messages import Begin


class Traffic:
    """Takes packets from the queue, and sends what the core has to send.

    ``on_error`` is called with what a packet's handling raised, ``ask`` with the addresses of
    neighbours that packets wait for, or go to.
    """

    def __init__(
        self,
        begin: Begin,
        make_scheduler: SchedulerFactory,
        on_error: Callable[[BaseException], None],
        ask: Callable[[Iterable[bytes]], None],
    ) -> None:
        now = time.monotonic()
        self.balancer = Balancer(make_scheduler, begin.settings, now=now, origin=begin.origin)
        self.balancer.flows.local_ports.keep(begin.kept_ports)
        self.answers = IcmpSender()
        self.packets = PacketSender()
        self.frames = FrameSender(time.monotonic, self._return_too_long, ask)
        self.source = QueueSource(
            begin.queue,
            self.balancer.handle,
            clock=time.monotonic,
            queue_length=begin.queue_length,
            after_turn=self.send_waiting,
            on_error=on_error,
        )
        self.pressure = Pressure(self.balancer, self.source.lost)
        self._opened = ExitStack()

    def open(self) -> None:
        """Take the queue, and open the senders. Raise KernelError, and then nothing is open."""
        with ExitStack() as opened:
            opened.callback(self.source.close)
            self.source.open()
            opened.callback(self.answers.close)
            self.answers.open()
            self.balancer.outbox.limits.target_every_s.update(target_every_s())
            opened.callback(self.packets.close)
            self.packets.open()
            opened.callback(self.frames.close)
            self.frames.open()
            self._opened = opened.pop_all()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take packets from now on."""
        self.source.start(loop)

    async def stop(self, *, kept: bool = False) -> None:
        """End in order: who has to know is told, and packets that wait get a verdict.

        Call it when packets are no longer diverted. Connections whose state is ``kept`` go on.
        """
        await reset_translated(self.balancer, self.send_waiting, kept=kept)
        self.source.stop()

    def close(self) -> None:
        """Close everything. Harmless when done twice, or before `open`."""
        self._opened.close()

    def tick(self, now: float) -> bool:
        """Run the core's timers; return whether there is more to do."""
        more = self.balancer.tick(now)
        self.send_waiting()
        return more

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

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what is counted around the core, by group."""
        told = self.balancer.flows.client_address
        return {
            "queue": asdict(self.source.stats),
            "refusals": asdict(self.balancer.strays.refusals),
            "table": self.pressure.counters(),
            "table_lost_by_service": self.balancer.flows.admission.lost(),
            "icmp": asdict(self.answers.stats) | self.balancer.outbox.limits.counters(),
            "packets": asdict(self.packets.stats),
            "frames": asdict(self.frames.stats),
            "client_address": {"told": told.told, "no_room": told.no_room, "forged": told.forged},
        }
