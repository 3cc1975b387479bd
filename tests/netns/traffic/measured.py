"""lvsd with an engine that notes the longest turn of its event loop.

    python -m tests.netns.traffic.measured FILE -c lvsd.toml

SIGUSR2 has the engine write that into FILE, in seconds of processor time, with how many real
servers have which MTU; it begins anew then. SIGUSR1 has the supervisor add ten thousand real
servers to the first service, and remove them when it comes again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from itertools import cycle
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING

from forwarders import Nat
from lvsd import cli
from lvsd.core.commands import AddServer, RemoveServer
from lvsd.core.values import ServerConfig
from lvsd.engine.engine import Engine
from lvsd.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from lvsd.supervisor.unwinding import Reserve

SERVERS = 10_000
FIRST = 0x0A420000
"""10.66.0.0, from where their addresses are counted up."""


class Metronome:
    """Has itself called in every turn of a loop, and notes how much is done between two calls."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        self._engine = engine
        self._loop = loop
        self._file = file
        self._last = thread_time()
        self._longest = 0.0
        self._tick()

    def _tick(self) -> None:
        now = thread_time()
        self._longest = max(self._longest, now - self._last)
        self._loop.call_soon(self._tick)
        self._last = thread_time()

    def tell(self) -> None:
        """Write the longest turn into the file, and what is known of ways."""
        work = self._engine._work
        assert work is not None
        services = tuple(work._balancer.services)
        mtus = Counter(server.way.mtu for service in services for server in service.servers)
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps({"longest_s": self._longest, "mtus": mtus}), "ascii")
        draft.replace(self._file)
        self._longest, self._last = 0.0, thread_time()


def main() -> int:
    """Run lvsd, measured."""
    file = Path(sys.argv[1])
    serve, start = Engine.serve, Supervisor.serve

    async def measured(engine: Engine) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, Metronome(engine, loop, file).tell)
        return await serve(engine)

    async def adding(supervisor: Supervisor, reserve: Reserve) -> None:
        key = supervisor._wanted[1].config.key  # type: ignore[union-attr]

        addresses = [(FIRST + each).to_bytes(4, "big") for each in range(1, SERVERS + 1)]
        add = [AddServer(key, ServerConfig(each, 80, Nat())) for each in addresses]
        remove = [RemoveServer(key, each, 80) for each in addresses]
        lists: cycle[Sequence[Command]] = cycle([add, remove])

        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: asyncio.ensure_future(supervisor.change(next(lists)))
        )
        await start(supervisor, reserve)

    Engine.serve = measured  # type: ignore[assignment,method-assign]
    Supervisor.serve = adding  # type: ignore[assignment,method-assign]
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
