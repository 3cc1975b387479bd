"""Carry out scenarios on the real daemon: lvsd in the rig, in a network namespace of this machine.

One daemon has the services of all scenarios at once, and keeps all connections. So a service that
stands in several scenarios has the same real servers in each, and no two scenarios use the same
client's port. Of operations it knows those that set up services, `Mtu` and `Send`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lvsd.control.client import ControlClient
from lvsd.lab.director import lvsd
from lvsd.lab.namespace import Namespace
from lvsd.lab.settings import at
from lvsd.lab.wait import PATIENCE
from tests.kernel import packets, rig
from tests.kernel.rewriting import shapes
from tests.kernel.scenario import (
    TCP,
    UDP,
    Change,
    Mtu,
    RealServer,
    Seen,
    Send,
    Side,
    VirtualService,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lvsd.lab.director import Daemon
    from tests.kernel.scenario import Scenario

PROTOCOLS = {TCP: "tcp", UDP: "udp", packets.SCTP: "sctp"}

MARKER = VirtualService("192.0.2.250", 9, UDP)
"""A service without real servers: lvsd answers each of its datagrams by an ICMP error."""
MARKER_CLIENT = "203.0.113.250"
MARKER_PORTS = range(1024, 65536)
_QUOTED_PORT_AT = 20 + 8 + 20

PATIENCE_S = 5.0 * PATIENCE
POLL_S = 0.0005
AGAIN_S = 0.1
"""lvsd sends so many ICMP errors a second and no more, so that a marker's may be missing."""
PAUSE_S = 0.002
"""Between two packets, lest there be that many."""
LEARN_S = 0.5 * PATIENCE
"""Until lvsd has noticed another MTU."""


@dataclass
class Services:
    """The services of scenarios, and their real servers."""

    servers: dict[VirtualService, list[RealServer]] = field(default_factory=dict)

    def add(self, scenario: Scenario) -> None:
        """Add a scenario's. Raise ValueError if a service has other servers than it had."""
        own: dict[VirtualService, list[RealServer]] = {}
        for operation in scenario.operations:
            match operation:
                case Change("add", service, None):
                    own[service] = []
                case Change("add", service, RealServer() as server):
                    own[service].append(server)
        for service, servers in own.items():
            if self.servers.setdefault(service, servers) != servers:
                raise ValueError(f"{scenario.name}: {service} has other servers elsewhere")

    @property
    def vips(self) -> list[str]:
        """The virtual addresses."""
        return sorted({each.address for each in self.servers if each.address is not None})

    def toml(self) -> str:
        """Return lvsd's configuration."""
        lines = ["[daemon]", 'log_format = "json"']
        for number, (service, servers) in enumerate(self.servers.items()):
            lines += ["[[service]]", *_keys(name=f"service {number}", **_service(service))]
            for server in servers:
                lines += ["[[service.server]]", *_keys(**_server(server))]
        return "\n".join([*lines, ""])


def _service(service: VirtualService) -> dict[str, object]:
    keys: dict[str, object] = {"scheduler": service.scheduler}
    if service.address is None:
        return keys | {"fwmark": service.fwmark, "family": service.version, "forward": "dr"}
    keys |= {"address": at(service.address, service.port), "protocol": PROTOCOLS[service.protocol]}
    if service.persistence_s:
        keys["persistence_s"] = service.persistence_s
    return keys


def _server(server: RealServer) -> dict[str, object]:
    keys: dict[str, object] = {
        "address": at(server.address, server.port),
        "weight": server.weight,
        "forward": server.forward,
    }
    if server.forward == "tun":
        keys["tunnel"] = server.tunnel
        if server.tunnel == "gue":
            keys["tunnel_port"] = server.tunnel_port
        if server.tunnel_checksum:
            keys["tunnel_checksum"] = True
    return keys


def _keys(**keys: object) -> list[str]:
    # JSON of strings of these characters, numbers and booleans is TOML.
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


class Player:
    """A running daemon, and how to have scenarios carried out."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._far = rig.FarEnds()
        self._mtus = dict.fromkeys(Side, rig.MTU)
        self._ports = iter(MARKER_PORTS)

    def close(self) -> None:
        """Close our ends of the network."""
        self._far.close()

    @property
    def drops(self) -> dict[str, int]:
        """How many packets lvsd dropped, by reason."""
        with ControlClient(self.daemon.control) as client:
            return dict(client.call("status")["drops"])

    def carry_out(self, scenario: Scenario) -> list[tuple[Seen, ...]]:
        """Return what left the director after each operation."""
        self._set_mtus(scenario)
        return [
            self._send(operation) if isinstance(operation, Send) else ()
            for operation in scenario.operations
        ]

    def _set_mtus(self, scenario: Scenario) -> None:
        wanted = dict.fromkeys(Side, rig.MTU)
        wanted |= {each.side: each.mtu for each in scenario.operations if isinstance(each, Mtu)}
        if wanted == self._mtus:
            return
        with self.daemon.namespace.entered():
            for side, mtu in wanted.items():
                if mtu != self._mtus[side]:
                    rig.set_mtu(side, mtu)
        self._mtus = wanted
        time.sleep(LEARN_S)
        self._far.collect()

    def _send(self, operation: Send) -> tuple[Seen, ...]:
        """Send a packet, and then the marker; return what came before the marker's answer.

        Packets keep their order on their way through lvsd, and ICMP errors are what it sends last.
        But an ICMP error to a VIP comes to lvsd twice, before it is routed and after: so the marker
        follows it twice.
        """
        time.sleep(PAUSE_S)
        self._far.send(operation.side, operation.data, operation.mark)
        seen: list[Seen] = []
        passes = 1 if shapes.protocol(operation.data) in PROTOCOLS else 2
        for _ in range(passes):
            seen += self._until_marker()
        return tuple(seen)

    def _until_marker(self) -> Iterator[Seen]:
        """Send the marker, and yield what comes until it is answered, but no answers."""
        deadline = time.monotonic() + PATIENCE_S
        again = 0.0
        port = -1
        while True:
            now = time.monotonic()
            if now >= again:
                port = next(self._ports)
                again = now + AGAIN_S
                self._far.send(Side.CLIENT, _marker(port))
            answers = set()
            for each in self._far.collect():
                answer = _marker_port(each)
                if answer is None:
                    yield each
                answers.add(answer)
            if port in answers:
                return
            if now > deadline:
                raise TimeoutError(f"lvsd does not answer the marker; it said: {self.daemon.log}")
            time.sleep(POLL_S)


def _marker(port: int) -> bytes:
    assert MARKER.address is not None
    return packets.udp(MARKER_CLIENT, port, MARKER.address, MARKER.port)


def _marker_port(seen: Seen) -> int | None:
    """Return the port of the marker that a packet is the answer to, None if it is no answer."""
    data = seen.data
    if seen.side is not Side.CLIENT or data[16:20] != packets.packed(MARKER_CLIENT):
        return None
    return int.from_bytes(data[_QUOTED_PORT_AT : _QUOTED_PORT_AT + 2])


@contextlib.contextmanager
def running(scenarios: Iterable[Scenario], directory: Path) -> Iterator[Player]:
    """Build the rig in a namespace of its own, and run lvsd there; remove both afterwards."""
    services = Services()
    for scenario in scenarios:
        services.add(scenario)
    services.servers[MARKER] = []
    name = f"lvsd-rewriting-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        namespace = Namespace(name, directory)
        with namespace.entered():
            rig.build()
        # lvsd's word for a VIP of the host is an address; to the kernel, a local route is as good.
        namespace.ip(
            *(f"address add {vip} dev lo{' nodad' * (':' in vip)}" for vip in services.vips)
        )
        daemon = lvsd(namespace, services.toml())
        try:
            with namespace.entered():
                player = Player(daemon)
            with contextlib.closing(player), _on_one_processor(daemon.process.pid):
                yield player
        finally:
            daemon.stop()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextlib.contextmanager
def _on_one_processor(process: int) -> Iterator[None]:
    """Run a process and this thread on one processor: what each sends then keeps its order."""
    free = os.sched_getaffinity(0)
    one = {min(free)}
    try:
        for each in (process, 0):
            os.sched_setaffinity(each, one)
        yield
    finally:
        os.sched_setaffinity(0, free)


def complaints(log: str) -> list[str]:
    """Return the lines of a JSON log that are errors."""
    return [line for line in log.splitlines() if '"level": "error"' in line]
