"""What clients may ask about health checks: how real servers are, and to ask one at once."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from lvsd.control.changes import selector
from lvsd.control.selecting import SELECTOR, Reader, selected
from lvsd.core.values import Health
from lvsd.errors import ControlError
from lvsd.health.probing import UnknownError
from lvsd.packet.address import endpoint, text
from lvsd.supervisor.desk import Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lvsd.control.peers import Peer
    from lvsd.control.protocol import CheckEntry
    from lvsd.core.wanted import Wanted
    from lvsd.supervisor.checking import Checked, Checking
    from lvsd.supervisor.desk import Params

TOGETHER: Final = 200
"""How many servers are listed at a time, with turns for others between."""


def methods(checking: Checking, wanted: Wanted) -> dict[str, Method]:
    """Return the methods."""

    async def checks(params: Params, _: Peer) -> object:
        if params:
            raise ValueError("checks has no parameters")
        return _portions(checking, wanted)

    async def check(params: Params, _: Peer) -> object:
        checked = _asked_for(checking, params)
        try:
            await checking.now(checked)
        except UnknownError as error:
            raise ControlError(f"{endpoint(*checked.place)}: {error}") from error
        return entry(checked, wanted)

    return {"checks": Method(checks, changes=False), "check": Method(check)}


def entry(checked: Checked, wanted: Wanted) -> CheckEntry:
    """Return how a server is."""
    key, place, patient = checked.service, checked.place, checked.patient
    service, judge, last = wanted.services.get(key), patient.judge, patient.last
    selects = selector(key)
    return {
        "service": selects,  # type: ignore[typeddict-item]  # it has the keys of one
        "name": service.config.name if service else "",
        "server": {"address": text(place[0]), "port": place[1]},
        "check": checked.asked.type,
        "up": judge.is_up,
        "since_s": int(time.monotonic() - judge.since),
        "health": (service.health(place) if service else Health.UP).value,
        "good": last.is_good if last and not patient.trouble else None,
        "said": patient.trouble or (last.said if last else ""),
        "took_ms": round(last.took_s * 1000, 2) if last else 0.0,
        "in_a_row": judge.in_a_row,
        "needed": judge.needed,
        "next_s": round(max(0.0, patient.due - asyncio.get_running_loop().time()), 2),
    }


async def _portions(checking: Checking, wanted: Wanted) -> AsyncIterator[object]:
    """Yield all servers that are checked, in lists; one that is empty where there are none."""
    every = list(checking.checked())
    for begin in range(0, len(every) or 1, TOGETHER):
        yield [entry(each, wanted) for each in islice(every, begin, begin + TOGETHER)]
        await asyncio.sleep(0)


def _asked_for(checking: Checking, params: Params) -> Checked:
    """Return the server that a request names. Raise ValueError, ControlError."""
    request = Reader(params, "")
    request.want_only(("service", "server"))
    service, server = request.table("service"), request.table("server")
    service.want_only(SELECTOR)
    server.want_only(("address", "port"))
    key = selected(service)
    place = server.address("address"), server.number("port", range(1 << 16), 0)
    found = [each for each in checking.checked([key]) if each.place == place]
    if not found:
        raise ControlError(f"{endpoint(*place)} is not checked there")
    return found[0]
