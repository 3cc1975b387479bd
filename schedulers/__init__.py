"""Schedulers: the built-in ones in one table, third parties' by entry point.

A third party's distribution names its scheduler in the entry-point group ``lvsd.schedulers``;
its pyproject.toml says::

    [project.entry-points."lvsd.schedulers"]
    first = "lvs_first:First"

where ``lvs_first.First`` is a `schedulers.base.Scheduler` with ``name = "first"``. Installed
beside lvsd, it can be typed after ``-s`` as any other. The name of a built-in one stays the
built-in one's.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from inspect import isabstract
from typing import TYPE_CHECKING

from schedulers.base import Scheduler
from schedulers.dh import DestinationHashing
from schedulers.fo import WeightedFailover
from schedulers.lblc import LocalityBasedLeastConnection
from schedulers.lblcr import LocalityBasedLeastConnectionReplication
from schedulers.lc import LeastConnection
from schedulers.mh import MaglevHashing
from schedulers.nq import NeverQueue
from schedulers.ovf import WeightedOverflow
from schedulers.rr import RoundRobin
from schedulers.sed import ShortestExpectedDelay
from schedulers.sh import SourceHashing
from schedulers.wlc import WeightedLeastConnection
from schedulers.wrr import WeightedRoundRobin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["BUILT_IN", "GROUP", "BrokenSchedulerError", "UnknownSchedulerError", "load", "names"]

GROUP = "lvsd.schedulers"

BUILT_IN: dict[str, type[Scheduler]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnection,
    "wlc": WeightedLeastConnection,
    "lblc": LocalityBasedLeastConnection,
    "lblcr": LocalityBasedLeastConnectionReplication,
    "dh": DestinationHashing,
    "sh": SourceHashing,
    "sed": ShortestExpectedDelay,
    "nq": NeverQueue,
    "mh": MaglevHashing,
    "fo": WeightedFailover,
    "ovf": WeightedOverflow,
}


class UnknownSchedulerError(LookupError):
    """No scheduler has this name; the text says which names there are."""


class BrokenSchedulerError(Exception):
    """A third party's scheduler cannot be used; the text says whose and why."""


@lru_cache(maxsize=1)
def _registered(_path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points of third parties' schedulers on an import path.

    Finding them reads the metadata of everything that is installed: some milliseconds, and as many
    to load what reads it.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - the built-in ones need none

    return entry_points(group=GROUP)


def names() -> list[str]:
    """Return the names that `load` knows: the built-in ones, then third parties' by alphabet."""
    found = {point.name for point in _registered(tuple(sys.path))}
    return [*BUILT_IN, *sorted(found - BUILT_IN.keys())]


def load(name: str) -> type[Scheduler]:
    """Return the scheduler of this name.

    Raise `UnknownSchedulerError` when there is none, and `BrokenSchedulerError` when a third
    party's one fails at import or is not what it should be.
    """
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        return built_in
    points = tuple(_registered(tuple(sys.path)).select(name=name))
    if not points:
        raise UnknownSchedulerError(f"no scheduler {name!r}; there are: {', '.join(names())}")
    if len(points) > 1:
        owners = ", ".join(sorted(map(_owner, points)))
        raise BrokenSchedulerError(f"scheduler {name!r} comes from several packages: {owners}")
    return _load_plugin(points[0])


def _load_plugin(point: EntryPoint) -> type[Scheduler]:
    whose = f"scheduler {point.name!r} of {_owner(point)}"
    try:
        loaded = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BrokenSchedulerError(
            f"{whose} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Scheduler)):
        raise BrokenSchedulerError(f"{whose}: {point.value} is no subclass of Scheduler")
    if isabstract(loaded):
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise BrokenSchedulerError(f"{whose}: {point.value} does not define {missing}")
    own_name = getattr(loaded, "name", None)
    if own_name != point.name:
        raise BrokenSchedulerError(f"{whose}: {point.value} calls itself {own_name!r}")
    return loaded


def _owner(point: EntryPoint) -> str:
    """Return the distribution that an entry point belongs to, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
