"""The control socket itself: who may have it, and that no client harms anybody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from lvsd import turns as turns_module
from lvsd.control import server as server_module
from lvsd.control.peers import Peer
from lvsd.control.server import ControlServer
from lvsd.core.listing import Row
from lvsd.errors import KernelError, PrivilegeError
from lvsd.packet.address import pack
from tests.unit.control.conftest import answering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from pathlib import Path

    from lvsd.core.balancer import Balancer

    RunWith = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    Exchange = Callable[..., list[dict[str, Any]]]

TIMEOUTS = b'{"method": "timeouts"}\n'
CONNECTIONS = b'{"method": "connections"}\n'
LINES = 60
"""Of 4 KiB each: more than a socket takes, and less than an answer waits for to be taken."""
ANSWER = {"result": {"tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}}


def crowd(balancer: Balancer, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Give a director many connections."""
    client, vip, rip = map(pack, ("198.51.100.7", "192.0.2.10", "10.0.0.11"))

    def connections() -> Iterator[Row]:
        for port in range(count):
            yield Row(6, client, port, vip, 80, rip, 8080, "ESTABLISHED", balancer.now + 900.0)

    monkeypatch.setattr(balancer, "connections", connections)


# --- the socket -----------------------------------------------------------------------------


def test_the_socket_is_for_root_and_its_group_only(
    server: ControlServer, run_with: RunWith
) -> None:
    async def scenario() -> int:
        return stat.S_IMODE(server.path.stat().st_mode)

    assert run_with(scenario) == 0o660


def test_a_missing_directory_is_made(balancer: Balancer, tmp_path: Path) -> None:
    server = ControlServer(answering(balancer), tmp_path / "run" / "lvsd" / "control.sock")

    async def scenario() -> None:
        await server.start()
        await server.stop()

    asyncio.run(scenario())
    assert [stat.S_IMODE((tmp_path / "run" / "lvsd").stat().st_mode)] == [0o755]


def test_stop_removes_the_socket(server: ControlServer, exchange: Exchange) -> None:
    assert exchange(TIMEOUTS) == [ANSWER]
    assert not server.path.exists()


def test_stop_before_start_does_nothing(server: ControlServer) -> None:
    asyncio.run(server.stop())
    assert not server.path.exists()


def test_a_dead_daemons_socket_is_replaced(server: ControlServer, exchange: Exchange) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(server.path))
    assert exchange(TIMEOUTS) == [ANSWER]


def test_a_living_daemons_socket_is_left_alone(
    balancer: Balancer, server: ControlServer, run_with: RunWith
) -> None:
    async def scenario() -> str:
        with pytest.raises(KernelError) as refused:
            await ControlServer(answering(balancer), server.path).start()
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(TIMEOUTS)
        assert json.loads(await reader.readline()) == ANSWER
        writer.close()
        return str(refused.value)

    assert run_with(scenario) == (
        f"listen on {server.path}: another lvsd is listening there; "
        "set daemon.control to another path"
    )


def test_a_successors_socket_is_left_alone(
    balancer: Balancer, server: ControlServer, run_with: RunWith
) -> None:
    successor = ControlServer(answering(balancer), server.path)

    async def scenario() -> None:
        server.path.unlink()
        await successor.start()

    run_with(scenario)
    assert server.path.exists()


def test_a_file_that_is_no_socket_is_left_alone(server: ControlServer) -> None:
    server.path.write_text("precious")
    with pytest.raises(KernelError, match="a file that is not a socket is in the way"):
        asyncio.run(server.start())
    assert server.path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_a_kernel_error(balancer: Balancer, tmp_path: Path) -> None:
    server = ControlServer(answering(balancer), tmp_path / ("x" * 200))
    with pytest.raises(KernelError, match="too long"):
        asyncio.run(server.start())


def test_no_permission_is_said_with_its_remedy(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PrivilegeError, match=r"start lvsd as root or set daemon\.control"):
        asyncio.run(server.start())


def test_the_umask_is_put_back(exchange: Exchange) -> None:
    before = os.umask(0o027)
    exchange(TIMEOUTS)
    assert os.umask(before) == 0o027


# --- requests and answers -------------------------------------------------------------------


def test_a_client_may_ask_many_things(exchange: Exchange) -> None:
    assert exchange(*[TIMEOUTS] * 1000) == [ANSWER] * 1000


def test_a_request_without_its_newline_is_answered_at_the_end(exchange: Exchange) -> None:
    assert exchange(TIMEOUTS.rstrip()) == [ANSWER]


def test_a_refusal_does_not_end_the_conversation(exchange: Exchange) -> None:
    refused, answered = exchange(b"nonsense\n", TIMEOUTS)
    assert refused["error"]["code"] == "bad_request"
    assert answered == ANSWER


@pytest.fixture
def _may_only_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "may_change", False)


@pytest.mark.usefixtures("_may_only_ask")
def test_a_request_that_is_too_long_ends_it(exchange: Exchange) -> None:
    [answer] = exchange(b"x" * 140_000 + b"\n", TIMEOUTS)
    assert answer == {
        "error": {"code": "bad_request", "message": "a request has at most 65536 bytes"}
    }


def test_those_who_may_change_things_may_say_more_at_a_time(exchange: Exchange) -> None:
    long = TIMEOUTS.rstrip() + b" " * 1_000_000 + b"\n"
    assert exchange(long, TIMEOUTS, long.rstrip(b"\n")) == [ANSWER] * 3


def test_they_may_not_say_anything_however_long(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CHANGE", 200_000)
    [answer] = exchange(b"x" * 900_000 + b"\n", TIMEOUTS)
    assert answer == {
        "error": {"code": "bad_request", "message": "a request has at most 200000 bytes"}
    }


def test_a_fault_of_ours_is_answered_and_the_server_goes_on(
    balancer: Balancer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(balancer, "connections", fail)
    failed, answered = exchange(CONNECTIONS, TIMEOUTS)
    assert failed["error"]["code"] == "internal"
    assert answered == ANSWER


def test_a_fault_in_the_middle_of_a_list_takes_the_place_of_its_last_line(
    balancer: Balancer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(balancer, monkeypatch, 2)
    good = balancer.connections

    def fail() -> Iterator[Row]:
        yield from good()
        raise ZeroDivisionError

    monkeypatch.setattr(balancer, "connections", fail)
    monkeypatch.setattr(turns_module, "SLICE_S", 0.0)
    *lines, last = exchange(CONNECTIONS)
    assert [line["more"] for line in lines] == [True, True]
    assert last["error"]["code"] == "internal"


# --- harm -----------------------------------------------------------------------------------


def test_a_long_list_comes_in_slices_with_the_loops_turn_between(
    balancer: Balancer,
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd(balancer, monkeypatch, 200)
    monkeypatch.setattr(turns_module, "SLICE_S", 0.0)
    turns = 0

    async def packets() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def scenario() -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_unix_connection(server.path)
        others = asyncio.create_task(packets())
        writer.write(CONNECTIONS)
        writer.write_eof()
        answer = await reader.read()
        others.cancel()
        writer.close()
        return [json.loads(line) for line in answer.splitlines()]

    lines = run_with(scenario)
    assert [line.get("more", False) for line in lines] == [True] * 200 + [False]
    ports = [item["client_port"] for line in lines for item in line["result"]]
    assert ports == list(range(200))
    assert turns >= 200


def test_a_client_that_does_not_read_is_cut_off(
    balancer: Balancer,
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd(balancer, monkeypatch, 1_000_000)
    monkeypatch.setattr(turns_module, "SLICE_S", 0.001)
    monkeypatch.setattr(server_module, "STALL_S", 0.01)

    async def scenario() -> None:
        _, writer = await asyncio.open_unix_connection(server.path, limit=1)
        writer.write(CONNECTIONS)
        await clients(server, 1)
        await clients(server, 0)
        writer.close()

    run_with(scenario)


def test_a_client_that_says_nothing_is_let_go(
    server: ControlServer, run_with: RunWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_S", 0.01)

    async def scenario() -> bytes:
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(b'{"method": "time')
        answer = await reader.read()
        writer.close()
        return answer

    assert run_with(scenario) == b""


def test_one_client_too_many_is_told_so(
    server: ControlServer, run_with: RunWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)
    monkeypatch.setattr(server_module, "PLACE_S", 3600.0)

    async def scenario() -> tuple[bytes, bytes]:
        first_reader, first = await asyncio.open_unix_connection(server.path)
        await clients(server, 1)
        second_reader, second = await asyncio.open_unix_connection(server.path)
        refused = await second_reader.read()
        first.write(TIMEOUTS)
        answered = await first_reader.readline()
        first.close()
        second.close()
        return refused, answered

    refused, answered = run_with(scenario)
    assert json.loads(refused)["error"]["code"] == "busy"
    assert json.loads(answered) == ANSWER


@pytest.mark.parametrize("said", [b"", b'{"method": "time', CONNECTIONS], ids=["0", "half", "all"])
def test_the_client_that_kept_us_waiting_longest_gives_way_to_one_more(
    balancer: Balancer,
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
) -> None:
    """It says nothing, half of a request, or all and takes no answer."""
    crowd(balancer, monkeypatch, 1_000_000)
    monkeypatch.setattr(turns_module, "SLICE_S", 0.001)
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 2)
    monkeypatch.setattr(server_module, "PLACE_S", 0.0)

    async def scenario() -> list[bytes]:
        _, first = await asyncio.open_unix_connection(server.path, limit=1)
        first.write(said)
        await waiting(server, 1)
        second_reader, second = await asyncio.open_unix_connection(server.path)
        await waiting(server, 2)
        third_reader, third = await asyncio.open_unix_connection(server.path)
        answers = []
        for reader, writer in ((third_reader, third), (second_reader, second)):
            writer.write(TIMEOUTS)
            answers.append(await reader.readline())
        for writer in (first, second, third):
            writer.close()
        return answers

    with capture_logs() as logs:
        assert [json.loads(each) for each in run_with(scenario)] == [ANSWER, ANSWER]
    assert [each["event"] for each in logs] == [
        "a client of the control socket that did nothing gave way to another"
    ]
    assert server.counters() == {"cut_off": 0, "gave_way": 1}


def test_a_client_that_is_worked_for_gives_way_to_nobody(
    balancer: Balancer,
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)
    monkeypatch.setattr(server_module, "PLACE_S", 0.0)
    asked, go_on = asyncio.Event(), asyncio.Event()
    ask = answering(balancer)

    async def slowly(line: bytes, peer: Peer) -> AsyncGenerator[bytes]:
        asked.set()
        await go_on.wait()
        async for each in ask(line, peer):
            yield each

    async def scenario() -> tuple[bytes, bytes]:
        server._ask = slowly
        first_reader, first = await asyncio.open_unix_connection(server.path)
        first.write(TIMEOUTS)
        await asked.wait()
        second_reader, second = await asyncio.open_unix_connection(server.path)
        refused = await second_reader.read()
        go_on.set()
        answered = await first_reader.readline()
        first.close()
        second.close()
        return refused, answered

    refused, answered = run_with(scenario)
    assert json.loads(refused)["error"]["code"] == "busy"
    assert json.loads(answered) == ANSWER


def test_what_a_client_asked_for_and_left_untaken_keeps_no_socket_open(
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "STALL_S", 0.05)
    given = 0

    async def much(_: bytes, _peer: Peer) -> AsyncGenerator[bytes]:
        """Give what the kernel takes, and a bit that waits for it in the writer."""
        nonlocal given
        for given in range(1, LINES + 1):  # noqa: B007 - how many went is looked at
            yield b"x" * 4096 + b"\n"

    async def scenario() -> None:
        server._ask = much
        _, writer = await asyncio.open_unix_connection(server.path, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(TIMEOUTS)
        writer.write_eof()
        await clients(server, 1)
        await clients(server, 0)
        writer.close()

    with capture_logs() as logs:
        run_with(scenario)
    assert given == LINES  # it was cut off afterwards
    assert server.counters() == {"cut_off": 1, "gave_way": 0}
    assert [each["event"] for each in logs] == [
        "a client of the control socket took no answer and was cut off"
    ]


async def waiting(server: ControlServer, count: int) -> None:
    """Wait until so many clients keep the server waiting, and go on doing so."""
    before: list[float | None] = []
    same = 0
    while same < 20:
        now = list(server._clients.values())
        same = same + 1 if now == before and len(now) == count and None not in now else 0
        before = now
        await asyncio.sleep(0.001)


def test_stop_hangs_up_on_clients(server: ControlServer) -> None:
    async def scenario() -> bytes:
        await server.start()
        reader, writer = await asyncio.open_unix_connection(server.path)
        await clients(server, 1)
        await server.stop()
        answer = await reader.read()
        writer.close()
        return answer

    assert asyncio.run(scenario()) == b""


async def clients(server: ControlServer, count: int) -> None:
    """Wait until the server has so many clients."""
    while len(server._clients) != count:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


def test_a_client_that_goes_away_in_the_middle_of_a_list_is_no_fault_of_lvsds(
    balancer: Balancer,
    server: ControlServer,
    run_with: RunWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd(balancer, monkeypatch, 500)
    monkeypatch.setattr(turns_module, "SLICE_S", 0.0)

    async def scenario() -> None:
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(CONNECTIONS)
        await reader.readline()
        writer.transport.abort()
        async with asyncio.timeout(30):
            await asyncio.gather(*server._clients)

    with capture_logs() as logs:
        run_with(scenario)
    assert logs == []
