"""The hosts and the ways between them as a small map, which the page's player lights up.

The script finds a host's box by ``data-host``, and a way by ``data-ends``, its hosts in the order
of the alphabet. The style comes from the page.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lvsd.explain.output.canvas import Box, Canvas

if TYPE_CHECKING:
    from lvsd.explain.model import Explanation, Host

WIDTH, HEIGHT = 720, 330
BOX_WIDTH, BOX_HEIGHT = 150, 64
SMALL_HEIGHT = 26
SIDE = 8
SMALL_APART = 6
BESIDE = 2
"""How many servers that nothing is sent to stand above the one that is picked, and below it."""

NARROW: Final = 20
"""Addresses of more characters than these are written smaller, in two lines."""

_PLACES: Final = {
    "client": (SIDE, (HEIGHT - BOX_HEIGHT) / 2),
    "director": ((WIDTH - BOX_WIDTH) / 2, SIDE),
    "router": ((WIDTH - BOX_WIDTH) / 2, HEIGHT - BOX_HEIGHT - SIDE),
    "server": (WIDTH - BOX_WIDTH - SIDE, (HEIGHT - BOX_HEIGHT) / 2),
}


def hostmap(explanation: Explanation) -> str:
    """Return the map, an SVG element: the ways, then the hosts above them."""
    canvas = Canvas()
    ways = dict.fromkeys(
        tuple(sorted((hop.host, following.host)))
        for journey in explanation.journeys
        for hop, following in pairwise(journey.hops)
        if hop.host != following.host
    )
    met = {name for way in ways for name in way}
    hosts = [host for host in explanation.hosts if host.role != "server" or host.name in met]
    boxes = {host.name: Box(*_PLACES[host.role], BOX_WIDTH, BOX_HEIGHT) for host in hosts}
    for way in ways:
        ends: dict[str, str | float] = {}
        for number, box in enumerate(map(boxes.__getitem__, way), 1):
            ends |= {f"x{number}": box.middle, f"y{number}": box.y + box.height / 2}
        canvas.add("line", class_="way", data_ends=" ".join(way), **ends)
    for host in hosts:
        _host(canvas, host, boxes[host.name])
    servers = [host.name for host in explanation.hosts if host.role == "server"]
    _others(canvas, servers, met)
    canvas.add("line", id="arrow")
    canvas.add("path", id="tip", d="M0 0L-20 -9L-20 9Z")
    with canvas.group(id="packet"):
        canvas.add("rect", **Box(-17, -12, 34, 24).attributes, rx=5)
        canvas.add("path", d="M-17 -9L0 3L17 -9")
    inside = "\n".join(canvas.parts)
    return f"""<svg id="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" \
aria-label="The hosts, and where the packet is">
{inside}
</svg>"""


def _host(canvas: Canvas, host: Host, box: Box) -> None:
    address = host.interfaces[0][1]
    with canvas.group(class_="host", data_host=host.name):
        canvas.add("rect", **box.attributes, rx=8)
        canvas.add("text", host.name, class_="name", x=box.middle, y=box.y + 26)
        if len(address) <= NARROW:
            canvas.add("text", address, class_="address", x=box.middle, y=box.y + 48)
            return
        colon = address.find(":", len(address) // 2 - 1) + 1
        for y, part in ((43, address[:colon]), (56, address[colon:])):
            canvas.add("text", part, class_="address small", x=box.middle, y=box.y + y)


def _others(canvas: Canvas, servers: list[str], met: set[str]) -> None:
    """Add the real servers that no packet comes by: the nearest ones in the order given."""
    picked = next((place for place, name in enumerate(servers) if name in met), None)
    x, y = _PLACES["server"]
    above = servers[:picked] if picked is not None else []
    below = servers[picked + 1 :] if picked is not None else servers
    for side, those in ((-1, above[::-1]), (1, below)):
        shown = those if len(those) <= BESIDE else [*those[: BESIDE - 1], f"{len(those) - 1} more"]
        top = y - SMALL_APART - SMALL_HEIGHT if side < 0 else y + BOX_HEIGHT + SMALL_APART
        for name in shown:
            box = Box(x + 25, top, BOX_WIDTH - 50, SMALL_HEIGHT)
            with canvas.group(class_="host other"):
                canvas.add("rect", **box.attributes, rx=5)
                canvas.add("text", name, x=box.middle, y=top + 17)
            top += side * (SMALL_HEIGHT + SMALL_APART)
