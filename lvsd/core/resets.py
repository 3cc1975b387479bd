"""Ends all of FULLNAT's connections, and tells both ends, when nobody comes after this director."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.connection import Connection
from lvsd.core.flows import SENT_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.flows import Flows


def reset_translated(flows: Flows, *, kept: bool = False) -> Iterator[None]:
    """End all FULLNAT connections, and tell both ends; yield when there is enough to send.

    Where what is ``kept`` goes on with the next director, that is those which are not.
    """
    pending = flows.table.pending
    if pending is not None and not kept:
        for _ in pending.taking_in():
            yield
    for entry in flows.table.walk():
        if kept and entry.kept:
            continue
        if isinstance(entry, Connection) and entry.translation is not None:
            flows.reset(entry)
            flows.end(entry)
        if len(flows.departures) >= SENT_AT_ONCE:
            yield
