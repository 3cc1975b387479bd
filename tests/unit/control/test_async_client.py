"""The asyncio client asks, lists and listens as the blocking one does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.aio import AsyncControlClient
from lvsd.control.server import ControlServer
from lvsd.core.wanted import Wanted
from lvsd.errors import ControlError
from lvsd.supervisor.desk import Desk, methods
from lvsd.supervisor.door import Door
from tests.unit.control.conftest import answering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
    from pathlib import Path

    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Change, Command


def run(
    balancer: Balancer,
    directory: Path,
    scenario: Callable[[AsyncControlClient], Coroutine[Any, Any, None]],
) -> None:
    """Run a scenario with a client of a server that changes a balancer."""
    wanted = Wanted((900, 120, 300))

    async def prepare(_: Sequence[Change]) -> list[Command]:
        return []

    async def apply(given: Sequence[Command], *, until_met: bool = True) -> None:
        del until_met
        balancer.apply(given, balancer.now)
        wanted.do(given)

    ask = answering(balancer)

    def engine(line: bytes) -> AsyncGenerator[bytes]:
        return ask(line, None)  # type: ignore[arg-type]  # it does not look who asks

    async def around() -> None:
        door = Door(wanted, prepare, apply)
        server = ControlServer(Desk(engine, methods(door)).ask, directory / "control.sock")
        await server.start()
        try:
            async with asyncio.timeout(20), AsyncControlClient(server.path) as client:
                await scenario(client)
        finally:
            await server.stop()

    asyncio.run(around())


MARK = {"fwmark": 5, "family": 4}


def test_it_calls_and_lists(balancer: Balancer, tmp_path: Path) -> None:
    async def scenario(client: AsyncControlClient) -> None:
        assert (await client.call("timeouts"))["tcp_s"] == 900
        assert len(await client.items("list")) == 2
        told = await client.call("change", commands=[{"command": "add_service", "service": MARK}])
        assert [each["change"] for each in told["changes"]] == ["service_added"]
        assert len(await client.items("list")) == 3

    run(balancer, tmp_path, scenario)


def test_a_refusal_is_an_error_and_the_next_call_is_answered(
    balancer: Balancer, tmp_path: Path
) -> None:
    async def scenario(client: AsyncControlClient) -> None:
        gone = {"command": "remove_service", "service": MARK}
        with pytest.raises(ControlError, match="No such service"):
            await client.call("change", commands=[gone])
        with pytest.raises(ControlError, match=r"commands\[0\]"):
            await client.call("change", commands=[{"command": "explode"}])
        with pytest.raises(ControlError, match="there are: change, connections, list"):
            await client.call("explode")
        assert (await client.call("timeouts"))["tcp_s"] == 900

    run(balancer, tmp_path, scenario)


def test_it_hears_of_changes(balancer: Balancer, tmp_path: Path) -> None:
    async def scenario(client: AsyncControlClient) -> None:
        async with aclosing(client.events()) as events:
            assert (await anext(events))["change"] == "listening"
            async with AsyncControlClient(tmp_path / "control.sock") as other:
                for each in ("add_service", "remove_service"):
                    await other.call("change", commands=[{"command": each, "service": MARK}])
            assert (await anext(events))["change"] == "service_added"
            assert (await anext(events))["change"] == "service_removed"

    run(balancer, tmp_path, scenario)


def test_one_that_is_not_connected_says_how(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="not connected: use it by `async with"):
        asyncio.run(AsyncControlClient(tmp_path / "control.sock").call("list"))


def test_one_that_waits_for_events_takes_no_other_call(balancer: Balancer, tmp_path: Path) -> None:
    async def scenario(client: AsyncControlClient) -> None:
        events = client.events()
        assert (await anext(events))["change"] == "listening"
        with pytest.raises(ControlError, match="ask by another one"):
            await client.call("list")

    run(balancer, tmp_path, scenario)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncControlClient(tmp_path / "control.sock"):
            pass

    with pytest.raises(ControlError, match="lvsd is not running: no socket"):
        asyncio.run(scenario())
