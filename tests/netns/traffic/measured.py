"""lvsd with an engine that notes the longest turn of its event loop, which is asyncio's own.

    python -m tests.netns.traffic.measured FILE -c lvsd.toml

SIGUSR2 has the engine write that into FILE, in seconds of processor time, with how many times its
time at best work of ever the same kind took meanwhile, how many real servers have which MTU,
whether anything still follows from changes, and how many connections there are; it begins anew
then. SIGUSR1 has the supervisor do what the file FILE.act says, a name of `Acts` and a number, to
the first service; it removes that file when it is done.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import sys
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import thread_time
from types import SimpleNamespace
from typing import TYPE_CHECKING

from forwarders import Nat
from lvsd import cli
from lvsd.core.commands import (
    AddServer,
    AddService,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
)
from lvsd.core.values import ServerConfig
from lvsd.engine import engine as engine_module
from lvsd.engine.engine import Engine
from lvsd.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceConfig
    from lvsd.supervisor.unwinding import Reserve

SERVERS = 10_000
FIRST = 0x0A420000
"""10.66.0.0, from where their addresses are counted up."""


BUSY_S = 0.0003
"""A turn that takes longer has done something; after it work of our own is measured, too."""
WORK = pickle.dumps([(number, str(number)) for number in range(1500)])


class MeasuredLoop(asyncio.SelectorEventLoop):
    """An event loop that notes how long its longest turn was, in seconds of processor time.

    Beside a load on the machine's caches, and when the hypervisor turns to others, any work takes
    several times its processor time now and then. So ``best_s`` and ``worst_s`` tell what the same
    work took here between the turns: at best ever, and at worst since they were told last.
    """

    longest_s = worst_s = 0.0
    best_s = float("inf")

    def _run_once(self) -> None:
        began = thread_time()
        super()._run_once()  # type: ignore[misc]  # every event loop of asyncio has it
        took = thread_time() - began
        self.longest_s = max(self.longest_s, took)
        if took > BUSY_S:
            began = thread_time()
            pickle.loads(WORK)  # noqa: S301 - our own
            took = thread_time() - began
            self.worst_s = max(self.worst_s, took)
            self.best_s = min(self.best_s, took)

    def begin_anew(self) -> None:
        """Forget what was noted, but for ``best_s``."""
        self.longest_s = self.worst_s = 0.0


def tell(engine: Engine, loop: MeasuredLoop, file: Path) -> None:
    """Write the longest turn into the file, and what is known of ways; begin anew."""
    work = engine._work
    assert work is not None
    services = tuple(work._balancer.services)
    mtus = Counter(server.way.mtu for service in services for server in service.servers)
    draft = file.with_suffix(".new")
    told = {
        "longest_s": loop.longest_s,
        "slowdown": max(loop.worst_s / loop.best_s, 1.0),
        "mtus": mtus,
        "is_busy": work._settling.busy,
        "connections": work._balancer.flows.table.count,
    }
    draft.write_text(json.dumps(told), "ascii")
    draft.replace(file)
    loop.call_soon(loop.begin_anew)  # once this turn is over


class Acts:
    """What the supervisor is asked to do; ``file`` says it. The number says which time it is."""

    def __init__(self, supervisor: Supervisor, file: Path) -> None:
        self._supervisor = supervisor
        self._file = file
        self.tasks: list[asyncio.Task[None]] = []

    @cached_property
    def _service(self) -> ServiceConfig:
        """The first service, as it was when it was first wanted: there is none before the start."""
        return next(iter(self._supervisor.door.wanted.services.values())).config

    async def act(self) -> None:
        """Do it."""
        name, number = self._file.read_text("ascii").split()
        await self._supervisor.door.change(list(getattr(self, name)(int(number))), "a test")
        self._file.unlink()

    def add_servers(self, _: int) -> Iterator[Command]:
        """Add ten thousand real servers."""
        for each in range(SERVERS):
            yield AddServer(self._service.key, server(each))

    def remove_servers(self, _: int) -> Iterator[Command]:
        """Remove them, those first that came first."""
        for each in range(SERVERS):
            yield RemoveServer(self._service.key, *server(each).place)

    def remove_some(self, number: int) -> Iterator[Command]:
        """Remove another quarter of them, of which ten thousand connections are left each time."""
        for each in range(number * SERVERS // 4, (number + 1) * SERVERS // 4):
            yield RemoveServer(self._service.key, *server(each).place)

    def edit_weights(self, number: int) -> Iterator[Command]:
        """Give all of them other weights, from 1 to a thousand."""
        for each in range(SERVERS):
            yield EditServer(self._service.key, server(each, 1 + each * (number + 7) % 1000))

    def take_over_by_wlc(self, _: int) -> Iterator[Command]:
        """Have the first scheduler again."""
        yield EditService(self._service)

    def take_over_by_mh(self, _: int) -> Iterator[Command]:
        """Have a scheduler with a table, and tell it of some changes."""
        yield EditService(replace(self._service, scheduler="mh"))
        for each in range(0, SERVERS, SERVERS // 40):
            yield EditServer(self._service.key, server(each, 3))

    def remove_service(self, _: int) -> Iterator[Command]:
        """Remove the service with its servers."""
        yield RemoveService(self._service.key)

    def add_service(self, _: int) -> Iterator[Command]:
        """Have it again, with as many."""
        yield AddService(self._service)
        yield from self.add_servers(0)


def server(number: int, weight: int = 1) -> ServerConfig:
    """Return one of the real servers."""
    return ServerConfig((FIRST + 1 + number).to_bytes(4, "big"), 53, Nat(), weight)


def main() -> int:
    """Run lvsd, measured."""
    file = Path(sys.argv[1])
    serve, start = Engine.serve, Supervisor.serve

    async def measured(engine: Engine) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MeasuredLoop)
        loop.add_signal_handler(signal.SIGUSR2, tell, engine, loop, file)
        return await serve(engine)

    async def acting(supervisor: Supervisor, reserve: Reserve) -> None:
        acts = Acts(supervisor, file.with_suffix(".act"))
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: acts.tasks.append(asyncio.ensure_future(acts.act()))
        )
        await start(supervisor, reserve)

    engine_module.uvloop = SimpleNamespace(new_event_loop=MeasuredLoop)  # type: ignore[assignment,attr-defined]
    Engine.serve = measured  # type: ignore[assignment,method-assign]
    Supervisor.serve = acting  # type: ignore[assignment,method-assign]
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
