"""Whatever the page says that one may ask for, both clients for Python can."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.config.saving import gathered
from lvsd.control.aio import AsyncControlClient
from lvsd.control.client import ControlClient, joined
from lvsd.control.protocol import LISTENING, LOST, NOTHING
from lvsd.control.server import ControlServer
from lvsd.running.complaints import Complaints
from lvsd.supervisor import check_methods, reload
from lvsd.supervisor import door as door_module
from lvsd.supervisor.checking import Checking
from lvsd.supervisor.desk import Desk, Method, methods
from lvsd.supervisor.door import Door
from tests.unit.control.conftest import answering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence

    from lvsd.config import model
    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Change, Command

PAGE = Path(__file__).parents[3] / "docs/control-protocol.md"
UPGRADED = {"before": "1", "after": "2", "pause_ms": 3.0, "connections": 4}
PARAMS: dict[str, dict[str, Any]] = {
    "change": {"commands": [{"command": "set_timeouts", "tcp_s": 5, "tcp_fin_s": 6, "udp_s": 7}]}
}
LISTS = {"list", "connections", "running", "checks"}
SERVICES = 2 * reload.SERVICES_TOGETHER
"""So many that a document of them has several parts with services."""


def described() -> list[str]:
    """Return the methods of the page's table."""
    table = PAGE.read_text().partition("| method |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


class Manager:
    """Stands for the service manager."""

    def send(self, *_: str) -> None:
        """Take no note."""


def serve(
    balancer: Balancer,
    directory: Path,
    scenario: Callable[[Path, Door], Coroutine[Any, Any, None]],
) -> None:
    """Run a scenario beside a server that has every method."""
    file = directory / "lvsd.toml"
    service = '[[service]]\nname = "{0}"\naddress = "192.0.2.10:{0}"\nprotocol = "tcp"\n'
    file.write_text("".join(service.format(1000 + number) for number in range(SERVICES)))
    found = reload.read(file)
    assert found.config is not None
    assert found.wanted is not None
    wanted, ask = found.wanted, answering(balancer)

    async def prepare(_: Sequence[Change]) -> list[Command]:
        return []

    async def apply(given: Sequence[Command], *, until_met: bool = True) -> None:
        del until_met
        wanted.do(given)

    async def nothing(_: model.Config) -> None:
        pass

    async def nothing_refused(_: model.Config) -> str:
        return ""

    async def upgrade(_: object, __: object) -> object:
        return UPGRADED

    async def check(_: object, __: object) -> object:
        return {"good": True}

    def engine(line: bytes) -> AsyncGenerator[bytes]:
        return ask(line, None)  # type: ignore[arg-type]  # it does not look who asks

    async def around() -> None:
        door = Door(wanted, prepare, apply)
        reloads = reload.Reloads(
            *(file, found.config, Manager(), door.change),  # type: ignore[arg-type]
            *(nothing, nothing_refused, str),
        )
        checking = Checking(wanted, door.change, Complaints(time.monotonic))
        all_methods = methods(door) | reload.methods(reloads, door)
        all_methods |= check_methods.methods(checking, wanted)
        all_methods |= {"upgrade": Method(upgrade), "check": Method(check)}
        server = ControlServer(Desk(engine, all_methods).ask, directory / "control.sock")
        await server.start()
        try:
            async with asyncio.timeout(60):
                await scenario(server.path, door)
        finally:
            await server.stop()

    asyncio.run(around())


def test_the_page_has_every_method() -> None:
    assert {"list", "change", "running", "subscribe", "upgrade"} < set(described())


@pytest.mark.parametrize("method", sorted({*described()} - {"subscribe"}))
def test_both_clients_return_the_result_of_every_method(
    balancer: Balancer, tmp_path: Path, method: str
) -> None:
    params = PARAMS.get(method, {})

    async def scenario(path: Path, _: Door) -> None:
        def blocking() -> tuple[Any, list[Any]]:
            with ControlClient(path) as client:
                whole = client.call(method, **params)
                return whole, list(client.items(method)) if method in LISTS else []

        whole, items = await asyncio.to_thread(blocking)
        async with AsyncControlClient(path) as client:
            other = await client.call(method, **params)
            others = await client.items(method) if method in LISTS else []
        for result in (whole, other):
            assert isinstance(result, list) == (method in LISTS)
            assert (result is None) == (method == "zero")
        if method in LISTS:
            assert whole == items == other == others

    serve(balancer, tmp_path, scenario)


def test_the_parts_of_what_runs_are_read_as_the_page_says(
    balancer: Balancer, tmp_path: Path
) -> None:
    async def scenario(path: Path, _: Door) -> None:
        async with AsyncControlClient(path) as client:
            parts = await client.call("running")
        assert {"daemon", "sysctl", "timeouts"} == parts[0].keys()
        assert [part.keys() for part in parts[1:]] == [{"service"}] * 2
        document = gathered(parts)
        assert len(document["service"]) == SERVICES
        assert document["timeouts"]["tcp_s"] == 900

    serve(balancer, tmp_path, scenario)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([None], None),
        ([[]], []),
        ([[1, 2], [3]], [1, 2, 3]),
        ([[1], [2], None], [1, 2]),
        ([{"a": 1}], {"a": 1}),
    ],
)
def test_a_result_is_whole_in_whatever_parts_it_comes(parts: list[Any], whole: object) -> None:
    assert joined(parts) == whole


def test_what_the_clients_hide_of_events_is_what_the_page_says(
    balancer: Balancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "MOST_WAITING", 2)

    async def scenario(path: Path, door: Door) -> None:
        def tell() -> None:
            for change in (NOTHING, "first", NOTHING, "last"):
                door.tell({"change": change})

        async with AsyncControlClient(path) as client, aclosing(client.events()) as events:
            assert (await anext(events))["change"] == LISTENING
            tell()
            assert [(await anext(events))["change"] for _ in range(2)] == [LOST, "last"]
        with ControlClient(path) as blocking:
            heard = await asyncio.to_thread(blocking.events)
            tell()
            found = [(await asyncio.to_thread(next, heard))["change"] for _ in range(2)]
            assert found == [LOST, "last"]

    serve(balancer, tmp_path, scenario)
