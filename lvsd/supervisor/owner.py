"""Whom a conversation with engines is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lvsd.core.drains import Emptied
    from lvsd.engine.messages import Begin
    from lvsd.io.ruleset import Diverted


class Owner(Protocol):
    """Who wants to know what an engine says."""

    def begin(self) -> Begin:
        """Return what an engine is to begin with."""

    def divert(self, more: Diverted | None) -> None:
        """Divert this as well; None: all of `Conversation.diverted`, as something went, too."""

    def left(self, addresses: frozenset[bytes]) -> None:
        """Take note of the removed real servers, packed addresses, that still have connections."""

    def ask(self, addresses: Iterable[bytes]) -> None:
        """Look for neighbours, packed addresses, or make sure that they are where they were."""

    def beat(self) -> None:
        """Take note that the engine is well."""

    def emptied(self, server: Emptied) -> None:
        """Take note that a drained server has no connections any more."""

    def counters(self) -> Mapping[str, Mapping[str, int | str]]:
        """Return what is counted outside the engine, by group."""

    def check(self) -> None:
        """Raise StoppedError where a start is not to wait for an engine any longer."""
