"""`lvsd explain`: one connection, followed from end to end, with the reason for every change.

For lessons and programs::

    from lvsd.explain import explain

    told = explain("fullnat", vip="192.0.2.10:80", client="198.51.100.7", scheduler="rr")
    print(told.plan)
    for journey in told.journeys:
        for hop in journey.hops:
            for change in hop.changes:
                print(hop.host, change.layer, change.field, change.before, change.after)
                print("    because:", change.cause.text)

What comes back is typed and immutable (`lvsd.explain.model`). `as_data` makes plain values of it,
`picks` tells whom a scheduler picks, `explain_capture` what becomes of the packets in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec

from lvsd.explain.captured import Seen
from lvsd.explain.dissect import dissect
from lvsd.explain.making import make
from lvsd.explain.model import (
    Candidate,
    Cause,
    Change,
    Choice,
    Entry,
    Explanation,
    Field,
    Frame,
    Hop,
    Host,
    Journey,
    Layer,
    Sum,
)
from lvsd.explain.output.data import as_data
from lvsd.explain.picks import picks
from lvsd.explain.story import explain_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvsd.explain.case import Case

_Asked = ParamSpec("_Asked")

__all__ = [
    "Candidate",
    "Cause",
    "Change",
    "Choice",
    "Entry",
    "Explanation",
    "Field",
    "Frame",
    "Hop",
    "Host",
    "Journey",
    "Layer",
    "Seen",
    "Sum",
    "as_data",
    "dissect",
    "explain",
    "explain_capture",
    "picks",
]


def _explaining(made: Callable[_Asked, Case]) -> Callable[_Asked, Explanation]:
    def explain(*args: _Asked.args, **kwargs: _Asked.kwargs) -> Explanation:
        return explain_case(made(*args, **kwargs))

    return explain


explain = _explaining(make)
"""Return one connection, followed through the director that lvsd runs.

What can be asked for, and what is raised, is as `lvsd.explain.making.make` has it.
"""


def explain_capture(capture: Path, config: Path, *, dip: str | None = None) -> Iterator[Seen]:
    """Yield what lvsd, run with a configuration, would do with each packet of a capture file.

    ``dip`` is the director's address that tunnels begin at; without it, and in the other family,
    192.0.2.1 and 2001:db8:1::1. Raise ConfigError, and InputError or DataError where the capture
    ends too early or is none.
    """
    from lvsd.explain.capture_cli import explained  # noqa: PLC0415 - only this reads a configuration

    yield from explained(config, capture, dip)
