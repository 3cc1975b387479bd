"""The checks there are, by name: those that come with lvsd in one table, others by entry point.

A check is loaded when it is first asked for: its protocol may need a library, and most
configurations have one kind of check, or none.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING, Final

from lvsd.health.base import Check

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

GROUP: Final = "lvsd.checks"

BUILT_IN: Final = {
    "tcp": "tcp:Tcp",
    "http": "http:Http",
    "https": "http:Https",
    "dns": "dns:Dns",
    "exec": "exec:Exec",
    "grpc": "grpc:Grpc",
    "mysql": "mysql:Mysql",
    "pgsql": "pgsql:Pgsql",
    "ping": "ping:Ping",
    "redis": "redis:Redis",
    "smtp": "smtp:Smtp",
    "udp": "udp:Udp",
}
"""Module of `lvsd.health.checks` and class, by the name of the check."""


class UnknownCheckError(LookupError):
    """No check has this name; the text says which names there are."""


class BrokenCheckError(Exception):
    """A check cannot be used; the text says whose it is and why."""


@lru_cache(maxsize=1)
def _registered(_path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points of third parties' checks on an import path."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - those of lvsd need none

    return entry_points(group=GROUP)


def names() -> list[str]:
    """Return the names that `load` knows: those of lvsd, then third parties' by alphabet."""
    found = {point.name for point in _registered(tuple(sys.path))}
    return [*BUILT_IN, *sorted(found - BUILT_IN.keys())]


def load(name: str) -> type[Check]:
    """Return the check of this name.

    Raise `UnknownCheckError` when there is none, and `BrokenCheckError` when it fails at import or
    is not what it should be.
    """
    if name in BUILT_IN:
        return _built_in(name)
    points = tuple(_registered(tuple(sys.path)).select(name=name))
    if not points:
        raise UnknownCheckError(f"no check {name!r}; there are: {', '.join(names())}")
    if len(points) > 1:
        owners = ", ".join(sorted(map(_owner, points)))
        raise BrokenCheckError(f"check {name!r} comes from several packages: {owners}")
    return _of_third_party(points[0])


@cache
def _built_in(name: str) -> type[Check]:
    module, _, of_class = BUILT_IN[name].partition(":")
    try:
        loaded: type[Check] = getattr(import_module(f"lvsd.health.checks.{module}"), of_class)
    except ImportError as error:
        raise BrokenCheckError(
            f"check {name!r} needs a library that is missing: {error}"
        ) from error
    return loaded


def _of_third_party(point: EntryPoint) -> type[Check]:
    whose = f"check {point.name!r} of {_owner(point)}"
    try:
        loaded = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = f"{type(error).__name__}: {error}"
        raise BrokenCheckError(f"{whose} cannot be imported: {why}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Check)):
        raise BrokenCheckError(f"{whose}: {point.value} is no subclass of Check")
    if isabstract(loaded):
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise BrokenCheckError(f"{whose}: {point.value} does not define {missing}")
    if getattr(loaded, "name", None) != point.name:
        own_name = getattr(loaded, "name", None)
        raise BrokenCheckError(f"{whose}: {point.value} calls itself {own_name!r}")
    return loaded


def _owner(point: EntryPoint) -> str:
    """Return the distribution that an entry point belongs to, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
