"""Learn what the kernel knows of the ways to real servers, a slice of the event loop at a time.

Twenty thousand servers are forty thousand questions: asked in one go they would hold up packets
for a second, each time that a route changes.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from lvsd.core.values import ANY_MTU, Way
from lvsd.io import routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.core.balancer import Balancer
    from lvsd.core.service import RealServer
    from lvsd.io.frame_sender import FrameSender
    from lvsd.io.packet_sender import PacketSender
    from lvsd.running.complaints import Complaints
    from lvsd.turns import Turns

COMPLAINT = "cannot look up routes"


def learn_all(balancer: Balancer, packets: PacketSender, frames: FrameSender) -> Iterator[None]:
    """Learn this host's links and addresses, and all ways to real servers, step by step.

    Raise KernelError.
    """
    yield from learn_ways(balancer)
    yield from balancer.strays.learning()
    packets.refresh()
    yield
    yield from frames.refreshing()


def learn_ways(balancer: Balancer) -> Iterator[None]:
    """Learn this host's links and addresses, and the way to each real server, step by step.

    Between two steps packets may be handled, and servers come and go. Raise KernelError.
    """
    balancer.network.link_mtus = routes.link_mtus()
    own = frozenset(address for _, address in routes.local_addresses())
    balancer.network.local_addresses = own
    yield
    servers: dict[bytes, list[RealServer]] = {}
    for service in tuple(balancer.services):
        for server in service.servers:
            servers.setdefault(server.address, []).append(server)
        yield
    for server in tuple(balancer.services.departed()):
        servers.setdefault(server.address, []).append(server)
    yield
    for address, mtu, source in routes.mtus_and_sources(servers):
        way = Way(mtu or ANY_MTU, source, is_local=address in own)
        for server in servers[address]:
            server.set_way(way)
        yield


class Learning:
    """Does ``steps``, all at once or in slices; a failure is left to ``complaints``.

    ``complaint`` is what the log says of it, a sentence without a full stop.
    """

    def __init__(
        self,
        steps: Callable[[], Iterator[None]],
        turns: Turns,
        complaints: Complaints,
        complaint: str = COMPLAINT,
    ) -> None:
        self._complaint = complaint
        self._steps = steps
        self._turns = turns
        self._complaints = complaints
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def now(self, after_each: Callable[[], None]) -> None:
        """Do all of it, with ``after_each`` between the steps. Raise what they raise."""
        for _ in self._steps():
            after_each()

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
