"""Why a service's scheduler takes this real server for a connection, asked before it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvsd.explain.picks import UNSAID, choice
from schedulers.base import Weighed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.service import Service
    from lvsd.explain.model import Choice
    from schedulers.base import Flow, Server


def weigh(service: Service, flow: Flow, now: float, name: Callable[[Server], str]) -> Choice:
    """Return what each real server stands for, nobody picked yet.

    The counts are those of this moment: to be called before the connection is there.
    """
    scheduler = service.scheduler
    weighed = scheduler.weigh(flow, now) or [
        Weighed(server, None, UNSAID) for server in service.servers
    ]
    return choice(scheduler, weighed, None, name)


def fallen_on(made: Choice, picked: str) -> Choice:
    """Return a choice with the server that it fell on marked."""
    candidates = (replace(each, picked=each.server == picked) for each in made.candidates)
    return replace(made, candidates=tuple(candidates))
