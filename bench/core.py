"""Packets per second through the whole director, without I/O: bytes in, bytes out.

That is parsing, look-up, counters, state, timer and rewriting; for a new connection also the
scheduler and both entries. In NAT mode unless a row says otherwise; what other modes send by a
socket is made, not sent. DR and TUN see no replies. The requests and replies are those of 10,000
established connections in turn; new connections come from as many clients and find an empty table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import process_time
from typing import TYPE_CHECKING

from bench.harness import Case, Turn, timed
from bench.loads import CONNECTIONS, NOW, established, icmp_errors, opening
from bench.report import Section, count
from lvsd.packet.view import SCTP, TCP, UDP
from schedulers import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.loads import Load
    from lvsd.core.balancer import Balancer

SERVERS = (3, 1000)
NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a load, for each number of servers in `SERVERS`.

    ``prepare`` takes version, protocol and that number. A load of ``packets`` is handled as a
    whole, each time by a new director if it ``opens`` connections.
    """

    title: str
    slug: str
    version: int
    protocol: int
    prepare: Callable[[int, int, int], tuple[Balancer, Load]]
    packets: int
    opens: bool = False

    def name(self, servers: int) -> str:
        """Return the name of the benchmark."""
        return f"core-{self.slug}-{NAMES[self.protocol].lower()}{self.version}-{servers}"

    def turn(self, servers: int) -> Turn:
        """Return a turn of whole loads."""
        prepare = partial(self.prepare, self.version, self.protocol, servers)
        return _anew(prepare) if self.opens else _again(*prepare())


def cases() -> list[Case]:
    """Return the benchmarks of group ``core``; what they measure is a packet each."""
    return [
        Case(row.name(servers), partial(row.turn, servers), row.packets, loops=1)
        for row in rows()
        for servers in SERVERS
    ]


def rows() -> list[Row]:
    """Return the lines of the table."""
    return [*_established(), *_opening()]


def tables() -> list[Section]:
    """Measure, and return the table of section ``core``; about two minutes."""
    timings = timed(["core-*"])
    return [
        Section(
            name="core",
            title="Through the director core, without I/O, per second",
            command="python -m bench core",
            columns=("", *(f"{count(servers)} servers" for servers in SERVERS)),
            rows=[
                (row.title, *(count(timings[row.name(servers)].per_s) for servers in SERVERS))
                for row in rows()
            ],
        )
    ]


def _established() -> Iterator[Row]:
    both = 2 * CONNECTIONS
    for version, protocol in ((4, TCP), (6, TCP), (4, UDP), (6, UDP), (4, SCTP)):
        title = f"IPv{version} {NAMES[protocol]}, request and reply"
        yield Row(title, "nat", version, protocol, established, both)
    for version in (4, 6):
        for mode, what, packets in (
            ("dr", "DR, request", CONNECTIONS),
            ("tun", "TUN, request", CONNECTIONS),
            ("fullnat", "FULLNAT, request and reply", both),
        ):
            prepare = partial(established, mode=mode)
            yield Row(f"IPv{version} TCP, {what}", mode, version, TCP, prepare, packets)
    for version in (4, 6):
        title = f"IPv{version} UDP, ICMP errors"
        yield Row(title, "icmp-error", version, UDP, icmp_errors, CONNECTIONS)


def _opening() -> Iterator[Row]:
    for mode in ("dr", "tun", "fullnat"):
        title = f"IPv4 TCP, new connections, {mode.upper()}"
        prepare = partial(opening, mode=mode)
        yield Row(title, f"open-{mode}", 4, TCP, prepare, CONNECTIONS, opens=True)
    for version, protocol in ((6, TCP), (4, UDP)):
        title = f"IPv{version} {NAMES[protocol]}, new connections, wlc"
        yield Row(title, "open-wlc", version, protocol, opening, CONNECTIONS, opens=True)
    for name in BUILT_IN:
        title = f"IPv4 TCP, new connections, {name}"
        prepare = partial(opening, scheduler=name)
        yield Row(title, f"open-{name}", 4, TCP, prepare, CONNECTIONS, opens=True)


def _again(balancer: Balancer, load: Load) -> Turn:
    """Return a turn of the same load by the same director."""
    return lambda loops: sum(_seconds(balancer, load) for _ in range(loops))


def _anew(prepare: Callable[[], tuple[Balancer, Load]]) -> Turn:
    """Return a turn that prepares a director for each load; that takes no time of it."""
    return lambda loops: sum(_seconds(*prepare()) for _ in range(loops))


def _seconds(balancer: Balancer, load: Load) -> float:
    handle = balancer.handle
    departures = balancer.outbox.departures
    begin = process_time()
    for packet, hook in load:
        handle(packet, hook, 0, 1, NOW)
        if departures:
            departures.clear()
    elapsed = process_time() - begin
    if balancer.tally.drops or balancer.tally.passed:
        raise ValueError(
            f"not all was forwarded: {balancer.dropped()}, {balancer.tally.passed} passed"
        )
    return elapsed
