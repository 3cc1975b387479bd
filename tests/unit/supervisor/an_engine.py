"""An engine that only does what it is told: to echo, to end, to hang, to talk nonsense."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import NamedTuple

from lvsd.engine.wire import Wire


class Do(NamedTuple):
    """What the supervisor says."""

    what: str


class Did(NamedTuple):
    """What the engine says."""

    what: str
    process: int


async def main(descriptor: int) -> None:
    """Do what comes over the wire until it ends."""
    end = socket.socket(fileno=descriptor)
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
    if "deaf" in sys.argv:
        await asyncio.sleep(3600)
    await done.wait()


def run() -> None:
    """Be an engine, as the command line says; not as ``__main__``, where messages have no name."""
    if "mortal" in sys.argv:
        sys.exit(7)
    asyncio.run(main(int(sys.argv[-1])))
