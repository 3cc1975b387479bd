"""Give beats while packets get their verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.io.nfqueue import QueueSource


class Heartbeat:
    """Calls ``beat`` when the engine is well, by what becomes of the packets of ``source``."""

    def __init__(self, source: QueueSource, beat: Callable[[], None]) -> None:
        self._source = source
        self._beat = beat
        self._received = 0

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
        self._beat()
