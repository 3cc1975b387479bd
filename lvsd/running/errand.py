"""Something that takes long, done in the background, once more where it is asked for meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lvsd.running.complaints import Complaints


class Errand:
    """Runs ``what``; a failure is left to ``complaints``, with ``complaint`` as the sentence.

    Where it ``rests``, it does so between one run and the next for so many times as long as the
    last one took: a network that changes all the time does not keep the supervisor busy with
    nothing else.
    """

    def __init__(
        self,
        what: Callable[[], Awaitable[None]],
        complaints: Complaints,
        complaint: str,
        *,
        rests: float = 0,
    ) -> None:
        self._what = what
        self._complaints = complaints
        self._complaint = complaint
        self._rests = rests
        self._is_wanted = False
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Begin with it, or do it once more after what is being done."""
        self._is_wanted = True
        if not self.busy:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def again(self) -> None:
        """Begin with it if it failed when it was last done."""
        if self._has_failed:
            self.soon()

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
        while self._is_wanted:
            self._is_wanted = False
            began = time.monotonic()
            try:
                await self._what()
            except Exception as error:  # noqa: BLE001 - lvsd goes on with what is known
                self._has_failed = True
                self._complaints.fault(self._complaint, error)
            else:
                self._has_failed = False
                self._complaints.over(self._complaint)
            if self._rests:
                await asyncio.sleep(self._rests * (time.monotonic() - began))
