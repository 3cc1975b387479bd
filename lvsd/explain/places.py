"""The places that a packet comes by in each mode: on paper, and in the lab, which is the same.

::

    client ---+--- front director back ---+------ real servers (nat, dr)
              |                           |
              +--- front router back -----+
                          far ------------------- real servers (tun, fullnat)

Replies of DR and TUN go by the router, past the director. In NAT there is no router.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from forwarders import FORWARDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.explain.model import Direction

SERVER: Final = "server"
"""In place of a host: whichever real server has the connection."""
TUNNEL: Final = "tunnel"
"""In place of an interface: where the packets come out of the tunnel."""

SENDS, RECEIVES, PASSES_ON = "sends", "receives", "passes on"
UNWRAPS: Final = "takes it out of the tunnel"

FAR: Final = frozenset({"tun", "fullnat"})
"""Modes whose real servers stand behind the router."""


class Place(NamedTuple):
    """Where a packet comes by, and what happens there; ``entrance`` is where a router gets it."""

    host: str
    interface: str
    title: str
    entrance: str = ""


def places(mode: str, direction: Direction) -> Iterator[Place]:
    """Yield the places that a packet comes by."""
    far = mode in FAR
    if direction == "request":
        yield Place("client", "eth0", SENDS)
        yield Place("director", "front", RECEIVES)
        yield Place("director", "back", SENDS)
        if far:
            yield Place("router", "far", PASSES_ON, "back")
        yield Place(SERVER, "eth0", RECEIVES)
        if mode == "tun":
            yield Place(SERVER, TUNNEL, UNWRAPS)
        return
    entrance = "far" if far else "back"
    yield Place(SERVER, "eth0", SENDS)
    if FORWARDERS[mode].bypasses:
        yield Place("router", "front", PASSES_ON, entrance)
    else:
        if far:
            yield Place("router", "back", PASSES_ON, entrance)
        yield Place("director", "back", RECEIVES)
        yield Place("director", "front", SENDS)
    yield Place("client", "eth0", RECEIVES)
