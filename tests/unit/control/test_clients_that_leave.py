"""Clients that leave in the middle: nobody else notices, and nothing is left of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from lvsd.control.peers import Peer
from lvsd.control.selecting import MAX_SHOWN, shown
from lvsd.control.server import ControlServer
from lvsd.core.wanted import Wanted
from lvsd.supervisor import door as door_module
from lvsd.supervisor.desk import MOST_LISTENERS, Desk, methods
from lvsd.supervisor.door import Door
from tests.unit.control.conftest import answering

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Change, Command

ROOT: Final = Peer(1, 0, frozenset({0}))
MARK: Final = {"fwmark": 5, "family": 4}
ADD: Final = {"method": "change", "params": {"commands": [{"command": "add_service"}]}}
ADD["params"]["commands"][0]["service"] = MARK  # type: ignore[index]
REQUESTS: Final = [
    json.dumps(each).encode() + b"\n"
    for each in (ADD, {"method": "list"}, {"method": "connections"}, {"method": "subscribe"})
]


def around(
    balancer: Balancer, path: Path, scenario: Callable[[Door], Coroutine[Any, Any, None]]
) -> Wanted:
    """Run a scenario beside a control socket that changes a balancer; return what is wanted then.

    Nothing may fail on the loop meanwhile.
    """
    wanted = Wanted((900, 120, 300))
    failures: list[dict[str, Any]] = []
    engine = answering(balancer)

    async def prepare(_: Sequence[Change]) -> list[Command]:
        await asyncio.sleep(0)
        return []

    async def apply(commands: Sequence[Command], *, until_met: bool = False) -> None:  # noqa: ARG001
        await asyncio.sleep(0)
        balancer.apply(commands, balancer.now)
        wanted.do(commands)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told))
        door = Door(wanted, prepare, apply)
        server = ControlServer(Desk(lambda line: engine(line, ROOT), methods(door)).ask, path)
        await server.start()
        try:
            async with asyncio.timeout(30):
                await scenario(door)
                while server._clients:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
        finally:
            await server.stop()

    asyncio.run(run())
    assert failures == []
    return wanted


async def say(path: Path, data: bytes, *, leave: bool) -> bytes:
    """Send bytes; leave at once, or return all that comes after no more is sent."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    if leave:
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        return b""
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("leave", [True, False], ids=["and leaves", "and waits"])
def test_half_a_request_changes_nothing_and_is_told_if_anybody_listens(
    balancer: Balancer, tmp_path: Path, *, leave: bool
) -> None:
    path = tmp_path / "control.sock"

    async def scenario(_: Door) -> None:
        for request in REQUESTS:
            for length in range(1, len(request) - 1, 7):
                answer = await say(path, request[:length], leave=leave)
                if not leave:
                    assert json.loads(answer)["error"]["code"] == "bad_request"
        assert b"tcp_s" in await say(path, b'{"method": "timeouts"}\n', leave=False)

    assert around(balancer, path, scenario).services == {}


def test_who_leaves_before_the_answer_has_asked_all_the_same(
    balancer: Balancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "QUIET_S", 0.05)
    path = tmp_path / "control.sock"

    async def scenario(door: Door) -> None:
        for request in reversed(REQUESTS):
            await say(path, request, leave=True)
        while not door.wanted.services or door._listeners:  # noqa: ASYNC110 - same reason
            await asyncio.sleep(0.01)
        assert b"tcp_s" in await say(path, b'{"method": "timeouts"}\n', leave=False)

    assert len(around(balancer, path, scenario).services) == 1


def test_who_listens_leaves_places_to_others_and_loses_its_own_when_it_leaves(
    balancer: Balancer, tmp_path: Path
) -> None:
    path = tmp_path / "control.sock"
    subscribe = REQUESTS[-1]

    async def scenario(door: Door) -> None:
        for _ in range(3):  # QUIET_S does not go by: nobody is written to
            held = [await asyncio.open_unix_connection(path) for _ in range(MOST_LISTENERS)]
            for reader, writer in held:
                writer.write(subscribe)
                assert b"listening" in await reader.readline()
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(subscribe)
            told = json.loads(await reader.readline())["error"]
            assert told["code"] == "refused"
            assert told["message"] == f"{MOST_LISTENERS} others listen already: end one of them"
            assert b"tcp_s" in await say(path, b'{"method": "timeouts"}\n', leave=False)
            for _, other in [*held, (reader, writer)]:
                other.close()
                await other.wait_closed()
        assert door.listeners <= MOST_LISTENERS
        assert b"tcp_s" in await say(path, b'{"method": "timeouts"}\n', leave=False)
        while door.listeners:
            await say(path, b'{"method": "timeouts"}\n', leave=False)

    around(balancer, path, scenario)


def test_who_listened_is_forgotten_as_soon_as_nobody_takes_the_answer(
    balancer: Balancer, tmp_path: Path
) -> None:
    async def scenario(door: Door) -> None:
        desk = Desk(lambda line: answering(balancer)(line, ROOT), methods(door))
        answers = desk.ask(b'{"method": "subscribe"}\n', ROOT)
        assert b"listening" in await anext(answers)
        assert len(door._listeners) == 1
        await answers.aclose()
        assert door._listeners == set()

    around(balancer, tmp_path / "control.sock", scenario)


def test_what_is_nested_too_deeply_to_be_shown_is_said_to_be_so() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert 0 < len(shown(deep)) <= MAX_SHOWN
