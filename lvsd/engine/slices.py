"""Work that is done a slice of the event loop at a time, with turns of packets between."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from lvsd.running.errand import Errand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.running.complaints import Complaints
    from lvsd.turns import Turns


class Slices(Errand):
    """An errand that does ``steps`` in slices."""

    def __init__(
        self,
        steps: Callable[[], Iterator[None]],
        turns: Turns,
        complaints: Complaints,
        complaint: str,
        *,
        rests: float = 0,
    ) -> None:
        super().__init__(self._in_slices, complaints, complaint, rests=rests)
        self._steps = steps
        self._turns = turns

    async def _in_slices(self) -> None:
        steps, more = self._steps(), True
        while more:
            async with self._turns.slice() as deadline:
                more = False
                for _ in steps:
                    if perf_counter() >= deadline:
                        more = True
                        break
