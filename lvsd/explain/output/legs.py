"""What a picture shows of a connection: some packets, leg by leg, in a few lines each; no pixels.

A leg is a frame's way from one host to the next. It is read off a journey's hops, and what stands
out in it off their changes: nothing here knows the modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from forwarders.plan import (
    Deliver,
    Encapsulate,
    InsertProxyHeader,
    InsertToa,
    NextHop,
    Renumber,
    SetDestination,
    SetSource,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lvsd.explain.model import Cause, Change, Direction, Explanation, Hop, Journey, Layer

ARROW: Final = "\N{RIGHTWARDS ARROW}"
PROXY: Final = "PROXY v2"

LONG: Final = 34
"""Two ends of more characters than this stand on two lines."""

SHORT: Final = {"sequence number": "seq", "acknowledgement number": "ack"}

STEP_NAMES: Final[Mapping[type[Step], str]] = {
    SetSource: "set source",
    SetDestination: "set destination",
    NextHop: "send to the MAC",
    Encapsulate: "encapsulate",
    Renumber: "renumber",
    InsertToa: "insert TOA",
    InsertProxyHeader: "insert PROXY v2",
    Deliver: "deliver here",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line about a frame. ``tag`` says which step or setting made it so; "": none did.

    ``goes_on``: the line belongs to the one before, whose tag is its own, too.
    """

    label: str
    value: str
    tag: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Leg:
    """A frame's way from one host to the next; ``number`` counts the legs of the whole picture."""

    number: int
    direction: Direction
    start: str
    end: str
    lines: tuple[Line, ...]


def drawn(explanation: Explanation) -> list[tuple[int, Journey]]:
    """Return the packets to draw, with their numbers from 1.

    They are the request and the reply that show most of the plan, and rather one with data.
    """
    numbered = list(enumerate(explanation.journeys, 1))

    def worth(one: tuple[int, Journey]) -> tuple[int, bool, int]:
        number, journey = one
        shown = {change.cause.text for hop in journey.hops for change in by_plan(hop)}
        steps = _steps(explanation, journey.direction) & shown
        has_data = any(layer.name == "payload" for layer in journey.hops[0].frame.layers)
        return len(steps), has_data, -number

    ways: tuple[Direction, ...] = ("request", "reply")
    groups = ([one for one in numbered if one[1].direction == way] for way in ways)
    return sorted(
        (max(group, key=worth) for group in groups if group), key=lambda chosen: chosen[0]
    )


def legs(explanation: Explanation, journeys: Sequence[Journey]) -> list[Leg]:
    """Return the legs of some packets, in the order in which they are gone."""
    owners = explanation.owners
    found: list[Leg] = []
    for journey in journeys:
        for hop, following in pairwise(journey.hops):
            if hop.host != following.host:
                lines = tuple(_lines(hop, owners))
                number = len(found) + 1
                found.append(Leg(number, journey.direction, hop.host, following.host, lines))
    return found


def notes(journeys: Sequence[Journey]) -> dict[str, list[str]]:
    """Return what hosts do to a packet that they do not send on, by host."""
    found: dict[str, list[str]] = {}
    for journey in journeys:
        for former, hop in pairwise(journey.hops):
            if former.host == hop.host and hop is journey.hops[-1]:
                found.setdefault(hop.host, []).append(hop.title)
    return found


def by_plan(hop: Hop) -> Iterator[Change]:
    """Yield the changes that a step of the plan or a setting is the cause of."""
    return (change for change in hop.changes if change.cause.kind in {"step", "setting"})


def _steps(explanation: Explanation, direction: Direction) -> set[str]:
    if explanation.plan is None:
        return set()
    steps = explanation.plan.request if direction == "request" else explanation.plan.reply
    return {str(step) for step in steps or ()}


def _lines(hop: Hop, owners: Mapping[str, str]) -> Iterator[Line]:
    """Yield what counts in a frame, from the outside in, then whatever else was made another."""
    marks = _Marks(hop)
    layers = {layer.name: layer for layer in hop.frame.layers}
    ethernet = layers.get("Ethernet")
    if ethernet:
        mac = ethernet.text("destination")
        owner = owners.get(mac, "nobody here")
        yield Line("frame", f"to {owner} {mac}", marks.tag(ethernet, "destination"))
    packets = [layer for layer in hop.frame.layers if layer.base in {"IPv4", "IPv6"}]
    if len(packets) > 1:
        yield from _outer(hop, packets[0], packets[-1], marks)
    ends = [layer for layer in hop.frame.layers if layer.base in {"TCP", "UDP"}]
    if packets and ends:
        yield from _ends(packets[-1], ends[-1], marks)
        yield from _inside(hop, packets[-1], ends[-1], marks)
    if PROXY in layers:
        layer = layers[PROXY]
        tag = marks.whole(layer)
        ends_told = (end(layer, layer, "source"), end(layer, layer, "destination"))
        yield from _pair(PROXY, *ends_told, tag)
    for change in marks.rest():
        value = "taken out" if change.after is None else change.after
        label = SHORT.get(change.field, change.field.removeprefix("option "))
        yield Line(label, value, _name(change.cause))


def _outer(hop: Hop, outer: Layer, inner: Layer, marks: _Marks) -> Iterator[Line]:
    """Yield the lines of a tunnel's packet."""
    tag = marks.whole(outer)
    yield from _pair("outer", outer.text("source"), outer.text("destination"), tag)
    between = [layer for layer in hop.frame.layers if outer.at < layer.at < inner.at]
    for layer in between:
        marks.whole(layer)
    udp = next((layer for layer in between if layer.name == "UDP"), None)
    kinds = [layer.name for layer in between if layer is not udp] or [
        f"{inner.base} in {outer.name}"
    ]
    ports = f", UDP {udp.text('source port')} {ARROW} {udp.text('destination port')}" if udp else ""
    yield Line("", f"{', '.join(kinds)}{ports}, {_life(outer)}")


def _ends(packet: Layer, segment: Layer, marks: _Marks) -> Iterator[Line]:
    for label, side in (("from", "source"), ("to", "destination")):
        tag = marks.tag(packet, side) or marks.tag(segment, f"{side} port")
        marks.tag(segment, f"{side} port")
        yield Line(label, end(packet, segment, side), tag)


def _inside(hop: Hop, packet: Layer, segment: Layer, marks: _Marks) -> Iterator[Line]:
    """Yield the transport's line, and the client's address where an option tells it."""
    payload = sum(layer.length for layer in hop.frame.layers if layer.base == "payload")
    said = [segment.text("flags")] if segment.get("flags") else []
    said.append(_life(packet))
    said += [f"{payload} bytes of data"] if payload else []
    yield Line(segment.base, ", ".join(said), marks.tag(segment, "flags"))
    for layer in hop.frame.layers:
        for field in layer.fields:
            if field.name.startswith(("option TOA", "option UOA")):
                label = field.name.removeprefix("option ")
                own = layer in {packet, segment}
                tag = marks.tag(layer, field.name) if own else marks.whole(layer)
                yield Line(label, field.text, tag)


def _pair(label: str, source: str, destination: str, tag: str) -> Iterator[Line]:
    """Yield two ends, on one line if they are short."""
    if len(source) + len(destination) <= LONG:
        yield Line(label, f"{source} {ARROW} {destination}", tag)
    else:
        yield Line(label, source, tag)
        yield Line("", f"{ARROW} {destination}", goes_on=True)


class _Marks:
    """The changes at a hop that the plan made, and which of them were drawn already."""

    def __init__(self, hop: Hop) -> None:
        self._left = {(change.layer, change.field): change for change in by_plan(hop)}

    def tag(self, layer: Layer, field: str) -> str:
        """Return the name of what made this field so, "" if nothing did; it is drawn then."""
        change = self._left.pop((layer.name, field), None)
        return _name(change.cause) if change else ""

    def whole(self, layer: Layer) -> str:
        """Return the name of what put this header there, "" if nothing did; it is drawn then."""
        tags = [self.tag(layer, field.name) for field in layer.fields]
        return next((tag for tag in tags if tag), "")

    def rest(self) -> list[Change]:
        """Return what was not drawn of the headers."""
        return [each for each in self._left.values() if not each.layer.endswith("payload")]


def _name(cause: Cause) -> str:
    """Return what did it, in a word or two."""
    if cause.step is None:
        return cause.text.partition(":")[0]
    return STEP_NAMES.get(type(cause.step), type(cause.step).__name__)


def _life(packet: Layer) -> str:
    return f"{'TTL' if packet.get('TTL') else 'hop limit'} {packet.life}"


def end(packet: Layer, segment: Layer | None, side: str) -> str:
    """Return an address with its port: the packet's source or its destination."""
    address = packet.text(side)
    if segment is None:
        return address
    port = segment.text(f"{side} port")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
