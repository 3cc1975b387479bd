"""The hop table of an explanation as Markdown, as lessons and pages have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd import tables
from lvsd.explain.output.legs import PROXY, end

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lvsd.explain.model import Explanation, Hop

COLUMNS: Final = (
    "packet",
    "hop",
    "to the MAC of",
    "outer",
    "source",
    "destination",
    "TTL",
    "besides",
)
_IP: Final = ("IPv4", "IPv6")
_ENDED: Final = ("TCP", "UDP")
_TOLD: Final = ("option TOA", "option UOA")


def markdown(explanation: Explanation, packets: Collection[int] | None = None) -> str:
    """Return a row per hop; bold is what is another than at the hop before.

    Of the packets only those numbered, from 1, unless None. A column that nobody needs is left
    out.
    """
    owners = explanation.owners
    rows: list[tuple[str, ...]] = []
    for number, journey in enumerate(explanation.journeys, 1):
        if packets is not None and number not in packets:
            continue
        former: tuple[str, ...] = ()
        for hop in journey.hops:
            cells = _cells(hop, owners)
            rows.append((journey.title if not former else "", _place(hop), *_bold(cells, former)))
            former = cells
    kept = [at for at in range(len(COLUMNS)) if any(row[at] for row in rows)]
    return tables.markdown([COLUMNS[at] for at in kept], [[row[at] for at in kept] for row in rows])


def _place(hop: Hop) -> str:
    return f"{hop.host} {hop.title}"


def _bold(cells: Iterable[str], former: tuple[str, ...]) -> list[str]:
    if not former:
        return list(cells)
    return [
        f"**{cell}**" if cell and cell != was else cell
        for cell, was in zip(cells, former, strict=True)
    ]


def _cells(hop: Hop, owners: dict[str, str]) -> tuple[str, ...]:
    """Return who gets the frame, an outer packet's ends, the packet's own, and what it tells."""
    layers = hop.frame.layers
    packets = [each for each in layers if each.base in _IP]
    outer, ip = packets[0], packets[-1]
    segment = next((each for each in layers if each.base in _ENDED and each.at > ip.at), None)
    told = [
        f"{field.name.removeprefix('option ')} {field.text}"
        for layer in layers
        for field in layer.fields
        if field.name in _TOLD
    ]
    if layer := hop.frame.get(PROXY):
        told.append(f"{PROXY} {end(layer, layer, 'source')}")
    tunnel = f"{outer.text('source')} -> {outer.text('destination')}, TTL {outer.life}"
    return (
        owners.get(layers[0].text("destination"), ""),
        tunnel if len(packets) > 1 else "",
        end(ip, segment, "source"),
        end(ip, segment, "destination"),
        ip.life,
        ", ".join(told),
    )
