"""An engine that only does what it is told: to echo, to end, to hang, to talk nonsense."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from lvsd.engine.wire import Wire

if TYPE_CHECKING:
    import socket


class Do(NamedTuple):
    """What the supervisor says."""

    what: str


class Did(NamedTuple):
    """What the engine says."""

    what: str
    process: int


def obedient(end: socket.socket) -> int:
    """Do what comes over the wire until it ends."""
    asyncio.run(_obey(end))
    return 0


def deaf(end: socket.socket) -> int:
    """Likewise, but do not end with the wire."""
    asyncio.run(_obey(end))
    time.sleep(3600)
    return 0


def mortal(_end: socket.socket) -> int:
    """End at once."""
    return 7


def mistaken(_end: socket.socket) -> int:
    """End by an error that nobody expects."""
    raise ZeroDivisionError("a mistake")


async def _obey(end: socket.socket) -> None:
    done = asyncio.Event()

    def receive(message: object) -> None:
        match message:
            case Do("exit"):
                os._exit(3)
            case Do("hang"):
                time.sleep(3600)
            case Do("babble"):
                end.send(b"\xff" * 64)
            case Do(what):
                wire.send(Did(what, os.getpid()))

    wire = Wire(end, [Do], receive, lambda _: done.set())
    wire.start(asyncio.get_running_loop())
    await done.wait()
