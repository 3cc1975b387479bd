"""Work that is done a slice of the event loop at a time, with turns of packets between."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.running.complaints import Complaints
    from lvsd.turns import Turns


class Slices:
    """Does ``steps`` in slices; a failure is left to ``complaints``.

    ``complaint`` is what the log says of it, a sentence without a full stop.
    """

    def __init__(
        self,
        steps: Callable[[], Iterator[None]],
        turns: Turns,
        complaints: Complaints,
        complaint: str,
    ) -> None:
        self._complaint = complaint
        self._steps = steps
        self._turns = turns
        self._complaints = complaints
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Begin with it; what is asked for meanwhile is done once, afterwards."""
        self._wanted = True
        if not self.busy:
            self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def busy(self) -> bool:
        """Whether it has begun, and is not at its end."""
        return self._task is not None and not self._task.done()

    async def done(self) -> None:
        """Wait until all that was asked for is done."""
        if self._task is not None:
            await self._task

    def stop(self) -> None:
        """Leave off. Harmless when nothing is going on."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self._in_slices(self._steps())
            except Exception as error:  # noqa: BLE001 - lvsd goes on with what is known
                self._complaints.fault(self._complaint, error)
            else:
                self._complaints.over(self._complaint)

    async def _in_slices(self, steps: Iterator[None]) -> None:
        more = True
        while more:
            async with self._turns.slice() as deadline:
                more = False
                for _ in steps:
                    if perf_counter() >= deadline:
                        more = True
                        break
