"""What is another than at the hop before, field by field, and which step of the plan did it.

The difference is found in the bytes; the plan is only asked who is to blame. A field that
differs, and that nobody here can answer for, has the cause "unknown": a test says that none has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, TypeAlias

from forwarders.plan import (
    Encapsulate,
    InsertProxyHeader,
    InsertToa,
    NextHop,
    Plan,
    Renumber,
    SetDestination,
    SetSource,
    Step,
)
from lvsd.explain.headers.checksums import is_cut_up
from lvsd.explain.model import Cause, Change, Direction, Frame, Layer

_ALL: Final = ("",)
_ENDED: Final = ("IPv4", "IPv6", "TCP", "UDP")
_QUOTED: Final = tuple(f"quoted {name}" for name in _ENDED)
_OUTER: Final = ("IPv4", "IPv6")
_LENGTHS: Final = ("total length", "payload length", "length", "header length", "data offset")
_TELLING: Final = (
    "option TOA",
    "option UOA",
    "option MSS",
    "next-hop MTU",
    "MTU",
    "flags",
    "protocol",
    "next header",
)
"""What tells the client's address, makes room for it, or says that it is there."""

_OF_A_FRAME: Final = ("802.1Q", "padding")
"""What a frame has besides a packet, and its Ethernet header."""

_FRAME: Final = Cause("forwarding", "every hop puts the packet into a frame of its own")
_TTL: Final = Cause("forwarding", "whoever forwards a packet takes one off")
_CHECKSUM: Final = Cause("follows", "covers what changed (RFC 1624)")
_LENGTH: Final = Cause("follows", "counts what was put in or taken out")
_DECAPSULATED: Final = Cause("host", "the real server takes the outer header off")
_CLAMPED: Final = Cause("setting", "mss_clamp: answers are to fit into the tunnel")
_CUT: Final = Cause("host", "the packet is cut to fit its way")
_UNKNOWN: Final = Cause("unknown", "nothing in the plan says so")

Finder: TypeAlias = Callable[[str, str], Cause | None]
"""Takes a layer's and a field's name, returns who answers for it."""


def changes(
    before: Frame, after: Frame, host: str, plan: Plan | None, direction: Direction
) -> tuple[Change, ...]:
    """Return what a host changed in a packet, in the order of the fields.

    ``host`` is "director", or who else forwards or takes packets apart; only the director follows
    the ``plan``.
    """
    find = _forwarder if plan is None or host != "director" else _director(plan, direction)
    if _is_piece(after) and not _is_piece(before):
        find = _or_cut(find)
    found: list[Change] = []
    for old, new in _pairs(before.layers, after.layers):
        if old and new:
            found += _within(old, new, find)
        elif new:
            cause = _whole_layer(new.name, find, plan)
            found += [Change(new.name, field.name, None, field.text, cause) for field in new.fields]
        elif old:
            cause = (
                _DECAPSULATED if host.startswith("server") else _whole_layer(old.name, find, plan)
            )
            found += [Change(old.name, field.name, field.text, None, cause) for field in old.fields]
    return tuple(found)


def _pairs(
    before: Sequence[Layer], after: Sequence[Layer]
) -> Iterator[tuple[Layer | None, Layer | None]]:
    """Yield the layers that correspond, from the outside in; None where there is no other.

    They are aligned from the inside: what is in a tunnel is the packet that was there before.
    """
    old, new = before[::-1], after[::-1]
    matcher = SequenceMatcher(None, [x.base for x in old], [x.base for x in new], False)
    pairs: list[tuple[Layer | None, Layer | None]] = []
    for tag, low, high, first, last in matcher.get_opcodes():
        if tag == "equal":
            pairs += zip(old[low:high], new[first:last], strict=True)
        else:
            pairs += [(layer, None) for layer in old[low:high]]
            pairs += [(None, layer) for layer in new[first:last]]
    return reversed(pairs)


def _within(old: Layer, new: Layer, find: Finder) -> Iterator[Change]:
    """Yield what differs in a header."""
    former = {field.name: field for field in old.fields}
    for field in new.fields:
        was = former.pop(field.name, None)
        if was is None or was.text != field.text:
            cause = find(new.base, field.name) or _UNKNOWN
            before = was.text if was else None
            yield Change(new.name, field.name, before, field.text, cause)
    for name, gone in former.items():
        yield Change(new.name, name, gone.text, None, find(old.base, name) or _UNKNOWN)


def _whole_layer(name: str, find: Finder, plan: Plan | None) -> Cause:
    """Return why there is a header that was not there, or that is not there any more."""
    if name.startswith(_OF_A_FRAME):
        return _FRAME
    if find(name, "") is _CUT:
        return _CUT
    if plan is not None:
        for step in plan.request:
            if isinstance(step, Encapsulate):
                return _by(step)
            if isinstance(step, InsertProxyHeader | InsertToa):
                return _by(step)
    return find(name, "") or _UNKNOWN


def _is_piece(frame: Frame) -> bool:
    """Tell whether a frame has a fragment (RFC 791; RFC 8200, section 4.5)."""
    return any(is_cut_up(each) for each in frame.layers if not each.name.startswith("quoted "))


def _or_cut(find: Finder) -> Finder:
    """Return a finder that puts the rest down to the cut."""
    return lambda layer, field: find(layer, field) or _CUT


def _by(step: Step) -> Cause:
    return Cause("step", str(step), step)


def _forwarder(layer: str, field: str) -> Cause | None:
    """Say who answers for a field that a router changes."""
    if layer == "Ethernet":
        return _FRAME
    if field in {"TTL", "hop limit"}:
        return _TTL
    return _CHECKSUM if (layer, field) == ("IPv4", "header checksum") else None


def _director(plan: Plan, direction: Direction) -> Finder:
    """Return who answers for a field that the director changes by this plan.

    The first row of the table that fits, and that the plan has a cause for.
    """
    steps = (plan.request if direction == "request" else plan.reply) or ()
    by = {type(step): _by(step) for step in steps}
    # What the plan tells of the client takes room in the other direction, too.
    told = next(
        (_by(s) for s in plan.request if isinstance(s, InsertToa | InsertProxyHeader)), None
    )
    clamped = _CLAMPED if Encapsulate in by else None
    table: tuple[tuple[tuple[str, ...], tuple[str, ...], Cause | None], ...] = (
        (("Ethernet",), ("destination",), by.get(NextHop)),
        (("Ethernet",), ("",), _FRAME),
        (_ALL, ("TTL", "hop limit"), _TTL),
        (_ALL, ("checksum", "header checksum"), _CHECKSUM),
        (_ALL, _LENGTHS, _LENGTH),
        (_ALL, ("sequence number", "acknowledgement number"), by.get(Renumber)),
        (_ALL, _TELLING, told),
        (_ALL, ("option MSS",), clamped),
        (_ALL, ("option timestamp", "option NOP", "option SACK"), by.get(Renumber)),
        (_ENDED, ("source",), by.get(SetSource)),
        (_ENDED, ("destination",), by.get(SetDestination)),
        (_QUOTED, ("source",), by.get(SetDestination)),  # what is quoted went the other way
        (_QUOTED, ("destination",), by.get(SetSource)),
        (_OUTER, ("source", "destination", "protocol", "next header"), by.get(Encapsulate)),
    )

    def find(layer: str, field: str) -> Cause | None:
        return next(
            (
                cause
                for layers, fields, cause in table
                if cause and layer.startswith(layers) and field.startswith(fields)
            ),
            None,
        )

    return find
