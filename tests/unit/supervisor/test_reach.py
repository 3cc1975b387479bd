"""Real servers are looked after while they are wanted, or have connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Nat
from lvsd.core.commands import AddServer, AddService, Clear, EditServer, RemoveServer, RemoveService
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.core.wanted import Wanted
from lvsd.packet.address import pack
from lvsd.packet.view import TCP
from lvsd.supervisor import reach as reach_module
from lvsd.supervisor.host import Host
from lvsd.supervisor.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Collection

    from lvsd.core.commands import Command

WEB = ServiceKey(TCP, pack("192.0.2.10"), 80)
RIP = pack("10.0.0.11")


class Anybody:
    """Takes whatever it is told."""

    leads: dict[bytes, object] = {}  # noqa: RUF012 - nobody changes it

    def __getattr__(self, name: str) -> Any:
        return lambda *_: set()


def test_the_neighbour_is_followed_while_there_may_be_connections_of_direct_routing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[set[bytes]] = []

    def look(_: Collection[bytes], direct: Collection[bytes]) -> tuple[Host, dict[Any, Any]]:
        asked.append(set(direct))
        return Host({}, frozenset(), {}), {}

    monkeypatch.setattr(reach_module, "look", look)
    wanted = Wanted((900, 120, 300))
    wanted.do([AddService(ServiceConfig(WEB)), AddServer(WEB, ServerConfig(RIP, 80, Dr()))])
    nobody: Any = Anybody()
    nobody.known = lambda: {RIP}
    reach = Reach(wanted, nobody, nobody, (), switches=False)
    edit = EditServer(WEB, ServerConfig(RIP, 80, Nat()))

    async def scenario() -> None:
        await reach.prepare(wanted.would_change([edit]))
        wanted.do([edit])
        reach.left(frozenset())
        await reach.learn()

    asyncio.run(scenario())
    assert asked == [{RIP}]


@pytest.mark.parametrize("command", [RemoveServer(WEB, RIP, 80), RemoveService(WEB), Clear()])
def test_a_server_that_goes_with_its_service_is_looked_after_while_it_has_connections(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[set[bytes], set[bytes]]] = []

    def look(
        addresses: Collection[bytes], direct: Collection[bytes]
    ) -> tuple[Host, dict[Any, Any]]:
        looked.append((set(addresses), set(direct)))
        return Host({}, frozenset(), {}), {}

    monkeypatch.setattr(reach_module, "look", look)
    wanted = Wanted((900, 120, 300))
    wanted.do([AddService(ServiceConfig(WEB)), AddServer(WEB, ServerConfig(RIP, 80, Dr()))])
    nobody: Any = Anybody()
    reach = Reach(wanted, nobody, nobody, (), switches=False)

    async def scenario() -> None:
        await reach.prepare(wanted.would_change([command]))
        reach.left(frozenset())  # as it was before
        wanted.do([command])
        await reach.learn()
        reach.left(frozenset())
        await reach.learn()

    asyncio.run(scenario())
    assert looked == [({RIP}, {RIP}), (set(), set())]
