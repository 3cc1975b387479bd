"""The four ways to reach a real server, as the lab and the demo show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from lvsd.explain.places import SERVER
from lvsd.lab import settings
from lvsd.lab.capture import REPLY, Hop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.lab.lab import Lab
    from lvsd.lab.plan import Addresses

Family: TypeAlias = Literal["v4", "v6"]

VIP_PORT: Final = 80
MAPPED_PORT: Final = 8080
"""The real servers' port where the mode can map ports: not the VIP's, so that it is seen."""

_REQUEST: Final = Hop("request, from the client", "director", "front")
_PASSED_ON: Final = Hop("request, passed on", "director", "back")
_ARRIVED: Final = Hop("request, at the real server", SERVER, "eth0")


@dataclass(frozen=True, slots=True)
class Watch:
    """A command worth a look: ``what`` it shows, and where."""

    what: str
    host: str
    command: str


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode, to be shown.

    ``hops`` is the way of one request and its reply, with their Ethernet headers if ``frames``.
    ``bypasses`` says that replies do not pass the director. ``port`` is the real servers'.
    """

    name: str
    title: str
    idea: str
    hops: tuple[Hop, ...]
    watches: tuple[Watch, ...]
    port: int = VIP_PORT
    bypasses: bool = False
    frames: bool = False


MODES: Final[dict[str, Mode]] = {
    mode.name: mode
    for mode in (
        Mode(
            "nat",
            "the director translates addresses",
            "The destination of each request becomes the real server, and the source of each "
            "reply the VIP. So replies must come back: the director is the real servers' gateway. "
            "Ports may differ.",
            (
                _REQUEST,
                _PASSED_ON,
                Hop("reply, from the real server", "director", "back", REPLY),
                Hop("reply, to the client", "director", "front", REPLY),
            ),
            (
                Watch(
                    "Watch it leave, rewritten", "director", f"tcpdump -ni back port {MAPPED_PORT}"
                ),
            ),
            port=MAPPED_PORT,
        ),
        Mode(
            "dr",
            "direct routing",
            "The packet stays as it is and goes to the real server's MAC. The real server has the "
            "VIP itself, tells nobody (no ARP for it), and answers the client straight away, past "
            "the director. Both stand in one network.",
            (
                _REQUEST,
                _PASSED_ON,
                Hop("reply, past the director", "router", "back", REPLY),
                Hop("reply, to the client", "router", "front", REPLY),
            ),
            (
                Watch("Watch it leave for another MAC", "director", "tcpdump -eni back port 80"),
                Watch("Watch replies pass by", "router", "tcpdump -ni front src port 80"),
            ),
            bypasses=True,
            frames=True,
        ),
        Mode(
            "tun",
            "tunnels",
            "The packet travels inside another one, which can cross any network. The real server "
            "takes the outer header off, has the VIP itself, and answers the client straight "
            "away.",
            (
                _REQUEST,
                _PASSED_ON,
                _ARRIVED,
                Hop("reply, past the director", "router", "far", REPLY),
                Hop("reply, to the client", "router", "front", REPLY),
            ),
            (
                Watch(
                    "Watch it leave in a tunnel",
                    "director",
                    "tcpdump -ni back 'ip proto 4 or ip6 proto 41'",
                ),
                Watch("Watch replies pass by", "router", "tcpdump -ni front src port 80"),
            ),
            bypasses=True,
        ),
        Mode(
            "fullnat",
            "both ends are translated",
            "The real server sees the director's local address, so its replies come back whatever "
            "its routes are: it may stand anywhere. The client's address travels in an option of "
            "TCP, TOA.",
            (
                _REQUEST,
                _PASSED_ON,
                _ARRIVED,
                Hop("reply, to the director", "director", "back", REPLY),
                Hop("reply, to the client", "director", "front", REPLY),
            ),
            (
                Watch(
                    "Watch it leave with TOA (exp-...)",
                    "director",
                    f"tcpdump -vni back dst port {MAPPED_PORT}",
                ),
            ),
            port=MAPPED_PORT,
        ),
    )
}
"""In the order in which they are shown."""


def of(pair: Addresses, family: Family) -> str:
    """Return the address of that family."""
    return pair.v4 if family == "v4" else pair.v6


def web(
    lab: Lab, family: Family, *, scheduler: str = "wlc", weights: Sequence[int] = ()
) -> settings.Service:
    """Return the web site on the lab's VIP, on all servers, each reached in its own way.

    ``weights`` are theirs; without any they weigh the same.
    """
    usual = lab.servers[0].way
    servers = tuple(
        settings.RealServer(
            settings.at(of(space.addresses, family), MODES[space.way].port),
            weight,
            forward=None if space.way == usual else space.way,
        )
        for space, weight in zip(lab.servers, weights or [1] * len(lab.servers), strict=True)
    )
    return settings.Service(
        "web" if family == "v4" else "web6",
        settings.at(of(lab.vip, family), VIP_PORT),
        servers,
        scheduler=scheduler,
        forward=usual,
        local_addresses=tuple(of(pair, family) for pair in lab.local_addresses),
    )
