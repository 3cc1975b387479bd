"""What a million connections cost: bytes each, and the longest that they hold up the packets.

Bytes are measured as the process's resident memory, in a process of its own, and estimated from
the sizes that Python reports of a connection's parts; paths are shared and do not count. Both
include the two keys, the dict and the timer wheel. The connections of a service of any port go to
50,000 ports, so that a path for each would show.
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from sys import getsizeof
from time import perf_counter
from typing import TYPE_CHECKING

from bench.loads import NOW, world
from bench.packets import ADDRESSES_AT, ENDS, L4, build
from bench.report import Section, count
from forwarders import FORWARDERS
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.core.verdict import Hook
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.core.connection_table import ConnectionTable

CONNECTIONS = 1_000_000
EXPIRING = 100_000
"""Of these connections all come in one second, and end in one second."""

FULLNAT_CONNECTIONS = 150_000
"""Three real servers and one local address have ports for 193,533."""

TARGET_BYTES = 700
PORTS = 50_000
PERSISTENCE_S = 300
SYN_RECV_S = 60
SYN, ACK = 0x02, 0x10


@dataclass(frozen=True, slots=True)
class Result:
    """The cost of `CONNECTIONS`, of one IP version; times in milliseconds.

    ``any_port_bytes`` and ``fullnat_bytes`` are those of the functions, which `run` fills in.
    """

    version: int
    resident_bytes: float
    estimated_bytes: float
    slowest_packet_ms: float
    idle_tick_ms: float
    ticks: int
    longest_tick_ms: float
    all_ticks_ms: float
    any_port_bytes: float = 0.0
    fullnat_bytes: float = 0.0


def run(connections: int = CONNECTIONS, expiring: int = EXPIRING) -> list[Result]:
    """Measure IPv4 and IPv6, each service in a fresh process; about a minute and 600 MB."""
    results = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for version in (4, 6):
            any_port = pool.submit(any_port_bytes, version, connections)
            one_port = pool.submit(measure, version, connections, expiring)
            fullnat = pool.submit(fullnat_bytes, version)
            results.append(
                replace(
                    one_port.result(),
                    any_port_bytes=any_port.result(),
                    fullnat_bytes=fullnat.result(),
                )
            )
    return results


def tables() -> list[Section]:
    """Measure, and return the table of section ``memory``."""
    results = run()
    lines = {
        f"bytes a connection, resident (target: {TARGET_BYTES})": [
            count(each.resident_bytes) for each in results
        ],
        f"the same for a service of any port (target: {TARGET_BYTES})": [
            count(each.any_port_bytes) for each in results
        ],
        "the same for FULLNAT": [count(each.fullnat_bytes) for each in results],
        "bytes a connection, estimated": [count(each.estimated_bytes) for each in results],
        "the slowest packet of all while the table fills, ms": [
            f"{each.slowest_packet_ms:.0f}" for each in results
        ],
        "tick when nothing ends, ms": [f"{each.idle_tick_ms:.2f}" for each in results],
        f"ticks that end {count(EXPIRING)} connections": [count(each.ticks) for each in results],
        "the longest of them, ms": [f"{each.longest_tick_ms:.0f}" for each in results],
        "all of them, ms": [f"{each.all_ticks_ms:.0f}" for each in results],
    }
    return [
        Section(
            name="memory",
            title=f"{count(CONNECTIONS)} connections in the table",
            command="python -m bench memory",
            columns=("", *(f"IPv{each.version}" for each in results)),
            rows=[(name, *values) for name, values in lines.items()],
        )
    ]


def measure(version: int, connections: int, expiring: int) -> Result:
    """Fill a table, weigh it, and let some of it end.

    The connections that stay are established; those that end wait for the server's answer.
    """
    gc.disable()  # nor does the daemon let the collector walk its connections
    balancer = world(version, TCP, 3)
    balancer.settings.max_connections = connections
    clients = _clients(version)
    gc.collect()
    before = _resident()
    slowest = _open(balancer, clients, connections - expiring, NOW, (SYN, ACK))
    _finish(balancer, NOW + SYN_RECV_S + 1)
    later = NOW + 100
    slowest = max(slowest, _open(balancer, clients, expiring, later, (SYN,)))
    resident = (_resident() - before) / connections
    estimated = _estimate(balancer.flows.table)
    (idle,) = _finish(balancer, later + SYN_RECV_S - 1)
    times = _finish(balancer, later + SYN_RECV_S + 1)
    if balancer.flows.table.count != connections - expiring:
        raise ValueError(f"{balancer.flows.table.count} connections are left")
    return Result(
        version=version,
        resident_bytes=resident,
        estimated_bytes=estimated,
        slowest_packet_ms=slowest,
        idle_tick_ms=idle,
        ticks=len(times),
        longest_tick_ms=max(times),
        all_ticks_ms=sum(times),
    )


def any_port_bytes(version: int, connections: int) -> float:
    """Return the resident bytes of a connection when clients ask one VIP for all its ports."""
    balancer = Balancer(make_scheduler, now=NOW)
    _, vip, rip = ENDS[version]
    service = ServiceConfig(ServiceKey(TCP, vip, 0), persistence_s=PERSISTENCE_S)
    server = ServerConfig(rip, 0, FORWARDERS["nat"]())
    balancer.apply([AddService(service), AddServer(service.key, server)], NOW)
    return _established_bytes(balancer, _clients(version, port_at=L4[version] + 2), connections)


def fullnat_bytes(version: int) -> float:
    """Return the resident bytes of an established FULLNAT connection, its translation included."""
    balancer = world(version, TCP, 3, mode="fullnat")
    return _established_bytes(balancer, _clients(version), FULLNAT_CONNECTIONS)


def _established_bytes(balancer: Balancer, clients: Iterator[bytearray], connections: int) -> float:
    """Open connections; return the resident bytes that each takes."""
    gc.disable()
    balancer.settings.max_connections = 2 * connections  # persistence has entries too
    gc.collect()
    before = _resident()
    _open(balancer, clients, connections, NOW, (SYN, ACK))
    if balancer.flows.table.count != connections:
        raise ValueError(f"there are {balancer.flows.table.count} connections")
    return (_resident() - before) / connections


def _clients(version: int, port_at: int | None = None) -> Iterator[bytearray]:
    """Yield a packet to the virtual service from ever other clients; its flags are to be set.

    Clients have many ports each; ``port_at`` is the offset of that port, by default the source's.
    """
    packet = bytearray(build(version, TCP, 60 if version == 4 else 80))
    client_end = ADDRESSES_AT[version] + (4 if version == 4 else 16)
    at = L4[version] if port_at is None else port_at
    for host in range(1, 1 << 16):
        packet[client_end - 2 : client_end] = host.to_bytes(2, "big")
        for port in range(1024, 1024 + PORTS):
            packet[at : at + 2] = port.to_bytes(2, "big")
            yield packet


def _open(
    balancer: Balancer, clients: Iterator[bytearray], number: int, now: float, flags: Sequence[int]
) -> float:
    """Open so many connections; return the milliseconds that the slowest packet took."""
    slowest = 0.0
    for packet in islice(clients, number):
        for flag in flags:
            packet[L4[packet[0] >> 4] + 13] = flag
            data = bytes(packet)
            start = perf_counter()
            balancer.handle(data, Hook.PREROUTING, 0, 1, now)
            slowest = max(slowest, perf_counter() - start)
            balancer.outbox.departures.clear()
    return slowest * 1000


def _finish(balancer: Balancer, now: float) -> list[float]:
    """Run the timers until nothing more is due; return the milliseconds that each tick took."""
    times = []
    more = True
    while more:
        start = perf_counter()
        more = balancer.tick(now)
        times.append((perf_counter() - start) * 1000)
    return times


def _resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _estimate(table: ConnectionTable) -> float:
    """Return the bytes of one connection, and of its share in the dict and the wheel."""
    connection = next(iter(table))
    own = (connection, connection.key, connection.reply_key, connection.expires)
    buckets = sum(map(getsizeof, table._wheel._buckets.values()))  # noqa: SLF001 - it weighs them
    for share in table.shares.opening:
        buckets += sum(map(getsizeof, share.opening._buckets.values()))  # noqa: SLF001
    return sum(map(getsizeof, own)) + (getsizeof(table.by_key) + buckets) / table.count
