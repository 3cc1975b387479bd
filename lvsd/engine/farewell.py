"""Tell clients and real servers that their FULLNAT connections end with this daemon.

Real servers would keep them for hours otherwise, and refuse the next daemon's connections from the
same local ports.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.core import resets

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.balancer import Balancer

FAREWELL_S: Final = 3.0
"""How long a stop sends RSTs at most, in seconds; some 10,000 connections a second are told."""

log = structlog.get_logger("lvsd")


async def reset_translated(
    balancer: Balancer, send_waiting: Callable[[], None], *, kept: bool
) -> None:
    """Reset all FULLNAT connections; ``send_waiting`` sends what that brings about.

    Those whose state is ``kept`` go on with the next daemon. Call it when packets are no longer
    diverted, so that none are opened meanwhile.
    """
    connections = balancer.flows.table.count
    enough = time.monotonic() + FAREWELL_S
    for _ in resets.reset_translated(balancer.flows, kept=kept):
        send_waiting()
        await asyncio.sleep(0)
        if time.monotonic() >= enough:
            break
    send_waiting()
    if ended := connections - balancer.flows.table.count:
        log.info("reset FULLNAT connections", connections=ended)
