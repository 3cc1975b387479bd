"""The engine and the forker of the lvsd that was upgraded, until they have ended.

Nothing is known of their version: the engine is sent what its own supervisor has written for that,
and what they say is not listened to.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.supervisor.engines import FAREWELL_S
from lvsd.supervisor.forker import CLOSE_S

if TYPE_CHECKING:
    from lvsd.supervisor.handover import Handover

_READ: Final = 1 << 16
_LOOK_S: Final = 0.002

log = structlog.get_logger("lvsd")


class Predecessor:
    """What `lvsd.supervisor.handover` names; its descriptors are ours from now on."""

    def __init__(self, handover: Handover) -> None:
        ends = handover.descriptors or {}
        self._engine = socket.socket(fileno=ends["engine"])
        self._process = ends["engine_process"]
        self._forker = socket.socket(fileno=ends["forker"])
        self._forker_process = handover.forker
        self._farewell = bytes.fromhex(handover.farewell)
        self._has_left = self._is_buried = False

    async def leave(self) -> None:
        """Have its engine write down its state and end; return when it has let go of that.

        Then packets are diverted to another queue; those that wait in its own get their verdicts.
        An engine that does not do so in time is killed. Harmless when done twice.
        """
        if self._has_left:
            return
        self._has_left = True
        loop = asyncio.get_running_loop()
        self._engine.setblocking(False)
        try:
            async with asyncio.timeout(FAREWELL_S):
                await loop.sock_sendall(self._engine, self._farewell)
                while await loop.sock_recv(self._engine, _READ):
                    pass
        except TimeoutError:
            log.warning("the engine before did not end in time and was killed")
            self._kill()
            await self._gone()
        except OSError:  # it has ended by itself
            await self._gone()

    async def end(self) -> None:
        """Have both end, and see that nothing is left of them. Harmless when done twice."""
        await self.leave()
        if self._is_buried:
            return
        self._is_buried = True
        if not await self._gone():
            self._kill()
        self._engine.close()
        os.close(self._process)
        self._forker.close()  # it ends when it has no children any more
        latest = time.monotonic() + CLOSE_S
        with suppress(ChildProcessError, ProcessLookupError):
            while not os.waitpid(self._forker_process, os.WNOHANG)[0]:  # noqa: ASYNC222 - no wait
                if time.monotonic() >= latest:
                    os.kill(self._forker_process, signal.SIGKILL)
                await asyncio.sleep(_LOOK_S)

    def _kill(self) -> None:
        with suppress(OSError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    async def _gone(self) -> bool:
        """Wait until its engine's process is gone; return whether it was in time."""
        latest = time.monotonic() + FAREWELL_S
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        while not poll.poll(0):
            if time.monotonic() >= latest:
                return False
            await asyncio.sleep(_LOOK_S)
        return True
