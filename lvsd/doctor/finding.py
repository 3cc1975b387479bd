"""What a check says: how bad, what, where, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from lvsd.doctor.snapshot import Snapshot


class Level(IntEnum):
    """How bad something is."""

    OK = 0
    WARNING = 1
    """Packets may get through; or it cannot be told from here that they do not."""

    PROBLEM = 2
    """Packets do not get through."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    ``where`` names the interface, sysctl, service or server. ``remedy`` is the command that fixes
    it, to be used ``at``: a real server's address or a file; empty for this host. ``silences``
    are the servers, by address and mode, whose clients get no answer because of it.
    """

    level: Level
    what: str
    where: str = ""
    remedy: str = ""
    at: str = ""
    silences: frozenset[tuple[bytes, str]] = frozenset()


Look: TypeAlias = Callable[["Snapshot"], Iterator[Finding]]


class Check(NamedTuple):
    """Something that is looked at; ``good`` is what there is to say when nothing is found."""

    name: str
    good: str
    look: Look


class Result(NamedTuple):
    """A check and what it found, each thing once, the worst first."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of the findings."""
        return max((finding.level for finding in self.findings), default=Level.OK)
