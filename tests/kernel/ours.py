"""Carry out scenarios on lvsd's core, at the times at which the kernel was asked.

The director is the one that the daemon has; here is what the daemon does around it: what it reads
from the kernel (MTUs, local addresses), and what the kernel does with a packet that lvsd let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders import FORWARDERS, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.control import lvsadm, options
from lvsd.core import commands
from lvsd.core.balancer import Balancer
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.verdict import Hook
from lvsd.errors import ControlError
from lvsd.packet.address import pack, text
from lvsd.packet.rewrite import one_hop_on
from lvsd.packet.view import Packet
from tests.in_process import InProcess
from tests.kernel import rig, scenario
from tests.kernel.scenario import (
    Answered,
    Change,
    Counts,
    Entry,
    Listing,
    Look,
    Mtu,
    Observation,
    Seen,
    Send,
    Side,
    Sight,
    Sysctl,
    Timeouts,
    Typed,
    Wait,
    label,
)

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.commands import Command
    from lvsd.core.listing import Row
    from lvsd.core.service import RealServer

INTERFACES = {Side.CLIENT: 2, Side.SERVER: 3}
HOOKS = {Side.CLIENT: Hook.PREROUTING, Side.SERVER: Hook.FORWARD}
TICK_S = 1.0


class Ours:
    """lvsd's director, and what is asked of it."""

    def __init__(self, now: float) -> None:
        self.balancer = Balancer(make_scheduler, now=now)
        self.balancer.network.link_mtus.update(dict.fromkeys(INTERFACES.values(), rig.MTU))
        self._client = InProcess(self.balancer)
        self._mtu = rig.MTU
        self._ticked = now

    def do(self, operation: scenario.Operation, now: float) -> Observation:
        """Carry out one operation."""
        self._tick(now)
        match operation:
            case Send():
                return Observation(now, self._send(operation, now))
            case Look():
                return Observation(now, self._sight(now))
            case Listing(arguments):
                self.balancer.now = now
                request = options.parse(arguments.split())
                lines = lvsadm.answer(request, self._client)
                return Observation(now, "".join(f"{line}\n" for line in lines))
            case Typed(words, text):
                self.balancer.now = now
                return Observation(now, Answered(*self._client.type(words, text)))
            case Wait():
                return Observation(now, None)
        try:
            self._change(operation)
        except ControlError as error:
            return Observation(now, str(error))
        return Observation(now, None)

    def _tick(self, now: float) -> None:
        """Run the timers once a second, as the daemon does, and now."""
        while self._ticked < now:
            self._ticked = min(self._ticked + TICK_S, now)
            while self.balancer.tick(self._ticked):
                pass

    # --- the operator -----------------------------------------------------------------------

    def _change(self, operation: scenario.Operation) -> None:
        match operation:
            case Change():
                self._apply(_command(operation))
                if operation.verb == "add" and operation.server is not None:
                    self._reach_new(_key(operation.service))
            case Sysctl(name, value):
                present = getattr(self.balancer.settings, name)
                setattr(self.balancer.settings, name, type(present)(value))
            case Timeouts(tcp_s, tcp_fin_s, udp_s):
                self._apply(commands.SetTimeouts(tcp_s, tcp_fin_s, udp_s))
            case Mtu(side, mtu):
                self._set_mtu(side, mtu)

    def _apply(self, command: Command) -> None:
        self.balancer.apply([command], self._ticked)

    def _reach_new(self, key: ServiceKey) -> None:
        """Let the newest server be reached, unless it came back."""
        server = self.balancer.services.get(key).servers[0]
        if server.way.source is None:
            self._reach(server)

    def _set_mtu(self, side: Side, mtu: int) -> None:
        self.balancer.network.link_mtus[INTERFACES[side]] = mtu
        if side is Side.SERVER:
            self._mtu = mtu
            for service in self.balancer.services:
                for server in service.servers:
                    self._reach(server)

    def _reach(self, server: RealServer) -> None:
        ipv4, ipv6 = rig.DIRECTOR[Side.SERVER]
        source = pack(ipv4 if len(server.address) == 4 else ipv6)
        server.set_way(Way(self._mtu, source))

    # --- packets ----------------------------------------------------------------------------

    def _send(self, operation: Send, now: float) -> tuple[Seen, ...]:
        balancer = self.balancer
        side = operation.side
        data = operation.data
        if HOOKS[side] is Hook.FORWARD:
            # The kernel has routed it already, and taken one from its TTL.
            packet = Packet()
            if packet.load(data) is None:
                data = one_hop_on(packet)
        outcome = balancer.handle(data, HOOKS[side], operation.mark, INTERFACES[side], now)
        seen = []
        if isinstance(outcome, bytes):
            if side is Side.CLIENT:
                packet = Packet()
                packet.load(outcome)
                outcome = one_hop_on(packet)
            other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
            seen.append(Seen(other, _mac(other, outcome), outcome))
        for departure in balancer.outbox.departures:
            mac = _mac(Side.SERVER, departure.data, departure.neighbour)
            seen.append(Seen(Side.SERVER, mac, departure.data))
        balancer.outbox.departures.clear()
        balancer.outbox.answers.clear()
        return tuple(seen)

    # --- what there is ----------------------------------------------------------------------

    def _sight(self, now: float) -> Sight:
        entries = [_entry(row, now) for row in self.balancer.connections()]
        counts = [
            Counts(
                _label(service.key),
                text(server.address),
                server.port,
                server.weight,
                server.active,
                server.inactive,
                server.templates,
            )
            for service in self.balancer.services
            for server in service.servers
        ]
        return Sight(tuple(sorted(entries)), tuple(counts))


def _command(change: Change) -> Command:
    key, server = _key(change.service), change.server
    if server is None:
        if change.verb == "remove":
            return commands.RemoveService(key)
        made = commands.AddService if change.verb == "add" else commands.EditService
        return made(_service(change.service))
    if change.verb == "remove":
        return commands.RemoveServer(key, pack(server.address), server.port)
    done = commands.AddServer if change.verb == "add" else commands.EditServer
    return done(key, _server(server))


def _key(service: scenario.VirtualService) -> ServiceKey:
    if service.address is None:
        return ServiceKey(fwmark=service.fwmark, family=service.version)
    vip = pack(service.address)
    family = 4 if len(vip) == 4 else 6
    return ServiceKey(service.protocol, vip, service.port, family=family)


def _service(service: scenario.VirtualService) -> ServiceConfig:
    return ServiceConfig(
        _key(service),
        service.scheduler,
        service.flags,
        persistence_s=service.persistence_s,
        prefix=service.prefix,
        one_packet=service.one_packet,
    )


def _server(server: scenario.RealServer) -> ServerConfig:
    return ServerConfig(
        pack(server.address),
        server.port,
        _forwarder(server),
        weight=server.weight,
        upper=server.upper,
        lower=server.lower,
    )


def _forwarder(server: scenario.RealServer) -> Forwarder:
    if server.forward == Tun.name:
        return Tun(server.tunnel, server.tunnel_port, server.tunnel_checksum)
    return FORWARDERS[server.forward]()


def _label(key: ServiceKey) -> str:
    return label(
        scenario.VirtualService(
            address=None if key.fwmark else text(key.vip),
            port=key.vport,
            protocol=key.protocol,
            fwmark=key.fwmark,
            version=key.family,
        )
    )


def _entry(row: Row, now: float) -> Entry:
    # The kernel shows a mark in place of the VIP, as the family's first 32 bits.
    vip = row.vip
    if row.template and row.fwmark:
        vip = row.fwmark.to_bytes(4, "big").ljust(len(row.client), b"\0")
    return Entry(
        row.protocol,
        text(row.client),
        row.client_port,
        text(vip),
        row.vport,
        text(row.rip),
        row.rport,
        row.state_name,
        row.expires - now,
    )


def _mac(side: Side, data: bytes, neighbour: bytes | None = None) -> bytes:
    """Return the MAC that the kernel would send a packet to."""
    if side is Side.CLIENT:
        return rig.GATEWAY_MAC
    destination = neighbour or (data[16:20] if data[0] >> 4 == 4 else data[24:40])
    networks = (pack("10.0.0.0"), pack("2001:db8:2::"))
    on_link = any(destination[:-1] == network[:-1] for network in networks)
    return rig.server_mac(destination[-1] if on_link else 0)
