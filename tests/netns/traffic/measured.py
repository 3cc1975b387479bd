"""lvsd with an engine that notes the longest turn of its event loop, which is asyncio's own.

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
from types import SimpleNamespace
from typing import TYPE_CHECKING

from forwarders import Nat
from lvsd import cli
from lvsd.core.commands import AddServer, RemoveServer
from lvsd.core.values import ServerConfig
from lvsd.engine import engine as engine_module
from lvsd.engine.engine import Engine
from lvsd.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.core.commands import Command
    from lvsd.supervisor.unwinding import Reserve

SERVERS = 10_000
FIRST = 0x0A420000
"""10.66.0.0, from where their addresses are counted up."""


class MeasuredLoop(asyncio.SelectorEventLoop):
    """An event loop that notes how long its longest turn was, in seconds of processor time."""

    longest_s = 0.0

    def _run_once(self) -> None:
        began = thread_time()
        super()._run_once()  # type: ignore[misc]  # every event loop of asyncio has it
        self.longest_s = max(self.longest_s, thread_time() - began)


def tell(engine: Engine, loop: MeasuredLoop, file: Path) -> None:
    """Write the longest turn into the file, and what is known of ways; begin anew."""
    work = engine._work
    assert work is not None
    services = tuple(work._balancer.services)
    mtus = Counter(server.way.mtu for service in services for server in service.servers)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"longest_s": loop.longest_s, "mtus": mtus}), "ascii")
    draft.replace(file)
    loop.call_soon(setattr, loop, "longest_s", 0.0)  # once this turn is over


def main() -> int:
    """Run lvsd, measured."""
    file = Path(sys.argv[1])
    serve, start = Engine.serve, Supervisor.serve

    async def measured(engine: Engine) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MeasuredLoop)
        loop.add_signal_handler(signal.SIGUSR2, tell, engine, loop, file)
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

    engine_module.uvloop = SimpleNamespace(new_event_loop=MeasuredLoop)  # type: ignore[assignment,attr-defined]
    Engine.serve = measured  # type: ignore[assignment,method-assign]
    Supervisor.serve = adding  # type: ignore[assignment,method-assign]
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
