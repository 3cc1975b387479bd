"""The hosts and the ways between them as a small map, which the page's player lights up.

The script finds a host's box by ``data-host``, and a way by ``data-ends``, its hosts in the order
of the alphabet. The style comes from the page.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lvsd.explain.output.canvas import Box, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Return the map, an SVG element."""
    inside = "\n".join(_drawn(explanation))
    return f"""<svg id="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" \
aria-label="The hosts, and where the packet is">
{inside}
<line id="arrow"/>
<path id="tip" d="M0 0L-20 -9L-20 9Z"/>
<g id="packet">
<rect x="-17" y="-12" width="34" height="24" rx="5"/><path d="M-17 -9L0 3L17 -9"/>
</g>
</svg>"""


def _drawn(explanation: Explanation) -> Iterator[str]:
    """Yield the ways, then the hosts above them."""
    ways: dict[tuple[str, str], None] = {}
    for journey in explanation.journeys:
        for hop, following in pairwise(journey.hops):
            if hop.host != following.host:
                first, second = sorted((hop.host, following.host))
                ways[first, second] = None
    met = {name for way in ways for name in way}
    hosts = {host.name: host for host in explanation.hosts}
    boxes = {
        name: Box(*_PLACES[host.role], BOX_WIDTH, BOX_HEIGHT)
        for name, host in hosts.items()
        if host.role != "server" or name in met
    }
    for first, second in ways:
        ends = " ".join(
            f'{axis}{number}="{value:g}"'
            for number, name in enumerate((first, second), 1)
            for axis, value in (
                ("x", boxes[name].middle),
                ("y", boxes[name].y + boxes[name].height / 2),
            )
        )
        yield f'<line class="way" data-ends="{clean(first)} {clean(second)}" {ends}/>'
    for name, box in boxes.items():
        yield from _host(hosts[name], box)
    servers = [host for host in explanation.hosts if host.role == "server"]
    yield from _others(servers, boxes)


def _host(host: Host, box: Box) -> Iterator[str]:
    yield f'<g class="host" data-host="{clean(host.name)}">'
    yield f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width}" height="{box.height}" rx="8"/>'
    yield f'<text class="name" x="{box.middle:g}" y="{box.y + 26:g}">{clean(host.name)}</text>'
    address = host.interfaces[0][1]
    if len(address) <= NARROW:
        yield f'<text class="address" x="{box.middle:g}" y="{box.y + 48:g}">{clean(address)}</text>'
    else:
        colon = address.find(":", len(address) // 2 - 1) + 1
        for place, part in enumerate((address[:colon], address[colon:])):
            yield (
                f'<text class="address small" x="{box.middle:g}" y="{box.y + 43 + 13 * place:g}">'
                f"{clean(part)}</text>"
            )
    yield "</g>"


def _others(servers: list[Host], boxes: dict[str, Box]) -> Iterator[str]:
    """Yield the real servers that no packet comes by: the nearest ones in the order given."""
    names = [host.name for host in servers]
    picked = next((place for place, name in enumerate(names) if name in boxes), None)
    x, y = _PLACES["server"]
    above = names[:picked] if picked is not None else []
    below = names[picked + 1 :] if picked is not None else names
    for side, those in ((-1, above[::-1]), (1, below)):
        shown = those if len(those) <= BESIDE else [*those[: BESIDE - 1], f"{len(those) - 1} more"]
        top = y - SMALL_APART - SMALL_HEIGHT if side < 0 else y + BOX_HEIGHT + SMALL_APART
        for name in shown:
            yield (
                f'<g class="host other"><rect x="{x + 25:g}" y="{top:g}" '
                f'width="{BOX_WIDTH - 50}" height="{SMALL_HEIGHT}" rx="5"/>'
                f'<text x="{x + BOX_WIDTH / 2:g}" y="{top + 17:g}">{clean(name)}</text></g>'
            )
            top += side * (SMALL_HEIGHT + SMALL_APART)
