"""Share the event loop with packets: work that can wait gets a slice of it at a time.

All such work together gets one slice, whoever it is for; then packets have several turns, as long
as there are any. So a hundred clients that list connections cost packets no more than one does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SLICE_S: Final = 0.001
"""How long a slice is to last while no packets come."""

BESIDE_S: Final = 0.0002
"""How long while they do: packets wait that long."""

RECENTLY_S: Final = 0.1
"""For how long after the last packets others are expected."""

SHARE: Final = 4
"""For how many times as long as a slice lasted packets have the loop to themselves."""

LOOKS: Final = 2
"""Turns of the event loop after which it is clear whether packets come."""


class Turns:
    """Hands out slices; ``packets`` tells how many packets were handled up to now."""

    def __init__(self, packets: Callable[[], int] = lambda: 0) -> None:
        self._packets = packets
        self._latest = 0
        self._latest_at = float("-inf")
        """When the number of packets was last another one than before."""
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[float]:
        """Wait for a slice; give the time of ``perf_counter`` by which to leave it.

        What is done inside must not wait for anything. Leaving takes as long as packets need.
        """
        async with self._lock:
            began = perf_counter()
            is_beside, seen = self.is_beside(began), self._latest
            try:
                yield began + (BESIDE_S if is_beside else SLICE_S)
            finally:
                await self._give_way(perf_counter() - began, seen)

    def is_beside(self, now: float) -> bool:
        """Whether packets come, or came a moment before ``now``, by ``perf_counter``."""
        packets = self._packets()
        if packets != self._latest:
            self._latest, self._latest_at = packets, now
        return now - self._latest_at < RECENTLY_S

    async def _give_way(self, worked_s: float, seen: int) -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        if self._packets() != seen:  # nobody handles any in a slice
            await asyncio.sleep(SHARE * worked_s)
