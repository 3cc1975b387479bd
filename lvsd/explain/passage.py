"""A packet through the director: what leaves, and what became of it in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvsd.core.path import Exit
from lvsd.core.verdict import Hook, Verdict
from lvsd.explain.diversion import belonging
from lvsd.explain.outcome import IN_PIECES, LEFT, Drops, kept, sent
from lvsd.explain.trail import loaded
from lvsd.packet.rewrite import one_hop_on

if TYPE_CHECKING:
    from lvsd.core.balancer import Balancer
    from lvsd.core.connection import Connection
    from lvsd.explain.model import Direction
    from lvsd.packet.view import Packet


class Leaving(NamedTuple):
    """A packet that leaves the director; DR's has the neighbour that its frame goes to."""

    data: bytes
    neighbour: bytes | None = None


class Passage(NamedTuple):
    """What the director did with a packet.

    ``connection`` is the one that it belongs to afterwards, ``about`` that, or the one that it
    ended; ``direction`` is the packet's in it.
    """

    leaving: tuple[Leaving, ...]
    outcome: str
    connection: Connection | None
    about: Connection | None
    direction: Direction


def passage(
    balancer: Balancer, packet: Packet, hook: Hook, indev: int, now: float, mark: int = 0
) -> Passage:
    """Let the director have a packet, as the kernel of its machine does, and take what leaves."""
    before = belonging(balancer.flows.table.by_key, packet)
    data = one_hop_on(packet) if hook == Hook.FORWARD else packet.data
    drops = Drops(balancer)
    verdict = balancer.handle(data, hook, mark, indev, now)
    after = belonging(balancer.flows.table.by_key, packet)
    about = after.connection or before.connection
    if isinstance(verdict, bytes):
        forwarded = one_hop_on(loaded(verdict)) if hook == Hook.PREROUTING else verdict
        leaving = [Leaving(forwarded)]
    else:
        leaving = [Leaving(each.data, each.neighbour) for each in balancer.outbox.departures]
        balancer.outbox.departures.clear()
    if not leaving:
        taken = verdict is Verdict.TAKEN
        outcome = drops.told() or (kept(balancer) if taken else LEFT)
    elif isinstance(verdict, bytes) or about is None:
        outcome = sent(Exit.VERDICT)
    else:
        exit_ = about.path.exit
        outcome = IN_PIECES if exit_ is Exit.VERDICT else sent(exit_)
    direction: Direction = "reply" if hook == Hook.FORWARD else "request"
    if about is not None:
        direction = "request" if about.key == before.key else "reply"
    return Passage(tuple(leaving), outcome, after.connection, about, direction)
