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

from lvsd.explain.captured import Seen, explain_capture
from lvsd.explain.dissect import dissect
from lvsd.explain.making import Question, make
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
    from collections.abc import Callable

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


def _explaining(question: Callable[_Asked, Question]) -> Callable[_Asked, Explanation]:
    def explain(*args: _Asked.args, **kwargs: _Asked.kwargs) -> Explanation:
        return explain_case(make(question(*args, **kwargs)))

    return explain


explain = _explaining(Question)
"""Return one connection, followed through the director that lvsd runs.

`lvsd.explain.making.Question` has what can be asked for; `make` there says what is raised.
"""
