"""The hop table of an explanation as Markdown, as lessons and pages have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd import tables
from lvsd.explain.model import INNER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lvsd.explain.model import Explanation, Frame, Hop

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
    frame = hop.frame
    inside = next((f"{INNER}{name}" for name in _IP if frame.get(f"{INNER}{name}")), "")
    ip = inside or next((name for name in _IP if frame.get(name)), "")
    prefix = INNER if inside else ""
    outer = f"{_value(frame, _IP, 'source')} -> {_value(frame, _IP, 'destination')}"
    outer += f", TTL {_ttl(frame, _IP)}"
    transport = tuple(prefix + name for name in ("TCP", "UDP"))
    told = [
        f"{field.name.removeprefix('option ')} {field.text}"
        for layer in frame.layers
        for field in layer.fields
        if field.name in _TOLD
    ]
    if layer := frame.get("PROXY v2"):
        told.append(f"PROXY v2 {_end(frame, layer.name, (layer.name,), 'source')}")
    return (
        owners.get(_value(frame, ("Ethernet",), "destination"), ""),
        outer if inside else "",
        _end(frame, ip, transport, "source"),
        _end(frame, ip, transport, "destination"),
        _ttl(frame, (ip,)),
        ", ".join(told),
    )


def _end(frame: Frame, ip: str, transport: Collection[str], which: str) -> str:
    """Return an address with its port."""
    address, port = _value(frame, (ip,), which), _value(frame, transport, f"{which} port")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _ttl(frame: Frame, layers: Collection[str]) -> str:
    return _value(frame, layers, "TTL") or _value(frame, layers, "hop limit")


def _value(frame: Frame, layers: Collection[str], name: str) -> str:
    """Return the text of a field of the first of the layers that there is, else nothing."""
    for layer in frame.layers:
        if layer.name in layers and (field := layer.get(name)):
            return field.text
    return ""
