"""Who is told of connections as they live: a peer, a file, a fast path. The core knows none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.template import Template

NEVER: Final = float("-inf")


class Observer:
    """Is told what happens to connections. Each method does nothing unless it is overridden.

    They are called amid packets: what takes long is to be put off. One that raises is told no
    less of the next connection, and nothing of this one's changes.
    """

    def opened(self, connection: Connection) -> None:
        """Note that a connection has its client; its state and ``expires`` are set."""

    def moved(self, connection: Connection, before: int) -> None:
        """Note that a connection is in another state than ``before``."""

    def learned(self, connection: Connection) -> None:
        """Note that the translation of a new connection has seen a SYN, of either side."""

    def ended(self, connection: Connection) -> None:
        """Note that a connection is over; what it held is given back after this."""

    def forgot(self, template: Template) -> None:
        """Note that a template is over. That it began nobody is told: its connection was opened."""

    def last_seen(self, connection: Connection) -> float:  # noqa: ARG002 - for those who know
        """Return when its last packet was seen elsewhere than here, on the director's clock.

        Asked of a connection that is about to expire, which then lives on from that time.
        """
        return NEVER


class Observers:
    """All observers of one director's connections. ``fault`` is what one of them raised last.

    ``present`` are those that there are: who ends many connections looks there first, as mostly
    there are none.
    """

    __slots__ = ("fault", "present")

    def __init__(self) -> None:
        self.present: tuple[Observer, ...] = ()
        self.fault: BaseException | None = None

    def add(self, observer: Observer) -> None:
        """Tell one more from now on, after those that there are."""
        self.present = (*self.present, observer)

    def remove(self, observer: Observer) -> None:
        """Tell an observer nothing more. Raise ValueError if it is none."""
        observers = list(self.present)
        observers.remove(observer)
        self.present = tuple(observers)

    def opened(self, connection: Connection) -> None:
        """Tell all that a connection was opened."""
        for observer in self.present:
            try:
                observer.opened(connection)
            except BaseException as error:  # noqa: BLE001 - it must not cost a packet
                self.fault = error

    def moved(self, connection: Connection, before: int) -> None:
        """Tell all that a connection has left a state."""
        for observer in self.present:
            try:
                observer.moved(connection, before)
            except BaseException as error:  # noqa: BLE001 - it must not cost a packet
                self.fault = error

    def learned(self, connection: Connection) -> None:
        """Tell all that a new connection's translation has seen a SYN, of either side."""
        for observer in self.present:
            try:
                observer.learned(connection)
            except BaseException as error:  # noqa: BLE001 - it must not cost a packet
                self.fault = error

    def forgot(self, template: Template) -> None:
        """Tell all that a template is over."""
        for observer in self.present:
            try:
                observer.forgot(template)
            except BaseException as error:  # noqa: BLE001 - it must not keep anything from its end
                self.fault = error

    def ended(self, connection: Connection) -> None:
        """Tell all that a connection is over."""
        for observer in self.present:
            try:
                observer.ended(connection)
            except BaseException as error:  # noqa: BLE001 - it must not keep anything from its end
                self.fault = error

    def last_seen(self, connection: Connection) -> float:
        """Return the latest time that any of them has seen a connection's packet."""
        latest = NEVER
        for observer in self.present:
            try:
                latest = max(latest, observer.last_seen(connection))
            except BaseException as error:  # noqa: BLE001 - it must not keep anything from its end
                self.fault = error
        return latest
