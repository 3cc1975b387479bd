"""Where requests wait for what has to be there first: an engine that takes packets, or all of lvsd.

Until an engine has read the state of the one before it knows of no connection: it would say that
there are none, and a server that is removed then would lose those that it has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from lvsd.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.control.server import ControlServer
    from lvsd.supervisor.door import Door

PATIENCE_S: Final = 15.0
"""How long a request waits, in seconds: less than clients do for its answer."""

HEARD_S: Final = 1.0
"""How long those who waited have to hear that it was for nothing, in seconds."""

ENDS: Final = "lvsd ends, and nothing was changed: its log says why"

_LOOK_S: Final = 0.005


class Gate:
    """Lets requests through while it is open; whoever comes before waits.

    ``why`` is what those are told for whom that takes too long.
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._open = asyncio.Event()
        self._refusal = ""
        self._waiting = 0

    @property
    def is_open(self) -> bool:
        """Whether a request would be let through at once."""
        return self._open.is_set() and not self._refusal

    def open(self) -> None:
        """Let those through who wait, and who come."""
        self._open.set()

    def close(self) -> None:
        """Have whoever comes from now on wait."""
        if not self._refusal:
            self._open.clear()

    def turn_away(self, why: str) -> int:
        """Tell those who wait, and who come, that it never opens; return how many waited."""
        self._refusal = why
        self._open.set()
        return self._waiting

    async def passed(self) -> None:
        """Return when it is open, and not a turn of the loop later. Raise BusyError in the end."""
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self._open.is_set():  # it may have closed since it woke us
                    await self._open.wait()
        except TimeoutError:
            raise BusyError(self._why) from None
        finally:
            self._waiting -= 1
        if self._refusal:
            raise BusyError(self._refusal)


async def turn_away(gates: Iterable[Gate], control: ControlServer, door: Door) -> None:
    """Tell those who wait that lvsd ends, and give them a moment to hear it."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + HEARD_S
    if sum([each.turn_away(ENDS) for each in gates]):
        # who waits for a change before his is told after that
        while control.busy > door.listeners and loop.time() < latest:  # noqa: ASYNC110 - a count
            await asyncio.sleep(_LOOK_S)
