"""What the timers of `CONNECTIONS` connections cost.

``table-tick-idle`` is a tick for which nothing is due. The others are per connection: its end, and
its move to a later second of the wheel since packets have put its expiry off.
"""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING

from bench.harness import Case, Turn, calls
from bench.loads import CONNECTIONS, NOW, requests, world
from lvsd.core.verdict import Hook
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from lvsd.core.balancer import Balancer

SERVERS = 3
SYN_RECV_S = 60
LATER_S = 30


def cases() -> list[Case]:
    """Return the benchmarks of group ``table``."""
    return [
        Case("table-tick-idle", _idle),
        Case("table-expire", _expiring, CONNECTIONS, loops=1),
        Case("table-postpone", _postponing, CONNECTIONS, loops=4),
    ]


def _idle() -> Turn:
    balancer = _opened()
    return calls(lambda: balancer.tick(NOW))


def _expiring() -> Turn:
    return _ticks_of_new(postponed=False, left=0)


def _postponing() -> Turn:
    return _ticks_of_new(postponed=True, left=CONNECTIONS)


def _ticks_of_new(*, postponed: bool, left: int) -> Turn:
    """Return a turn that ticks past the expiry of so many new connections."""

    def turn(loops: int) -> float:
        taken = 0.0
        for _ in range(loops):
            balancer = _opened()
            if postponed:
                _open(balancer, NOW + LATER_S)
            begin = process_time()
            while balancer.tick(NOW + SYN_RECV_S + 1):
                pass
            taken += process_time() - begin
            if balancer.flows.table.count != left:
                raise ValueError(f"{balancer.flows.table.count} connections are left, not {left}")
        return taken

    return turn


def _opened() -> Balancer:
    """Return a director with `CONNECTIONS` that wait for the server's answer."""
    balancer = world(4, TCP, SERVERS)
    _open(balancer, NOW)
    return balancer


def _open(balancer: Balancer, now: float) -> None:
    for packet in requests(4, TCP, opens=True):
        balancer.handle(packet, Hook.PREROUTING, 0, 1, now)
