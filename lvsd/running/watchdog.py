"""Feed systemd's watchdog while packets get their verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd import notify

if TYPE_CHECKING:
    from lvsd.io.nfqueue import QueueSource
    from lvsd.notify import Notifier


class Watchdog:
    """Tells ``manager`` that the daemon lives, by what becomes of the packets of ``source``."""

    def __init__(self, source: QueueSource, manager: Notifier) -> None:
        self._source = source
        self._manager = manager
        self._received = 0
        interval_s = notify.watchdog_s()
        self.pause_s = interval_s / 2 if interval_s else None
        """How often to look, in seconds; None: nobody wants to know."""

    def look(self, now: float) -> None:
        """Give a beat, unless packets wait in the queue and none was taken meanwhile.

        Raise KernelError where the queue tells nothing.
        """
        self._source.ask_kernel()
        stats = self._source.stats
        if stats.received > self._received or not stats.waiting:
            self.beat(now)
        self._received = stats.received

    def beat(self, _now: float) -> None:
        """Give a beat: where the queue tells nothing, that the event loop turns has to do."""
        self._manager.send(notify.WATCHDOG)
