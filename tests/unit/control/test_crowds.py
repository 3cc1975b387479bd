"""More clients than the daemon accepts, and than it serves: each waits its turn, or is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control import grammar, lvsadm
from lvsd.control import server as server_module
from lvsd.control.client import ControlClient
from lvsd.control.server import MAX_CLIENTS
from lvsd.control.stale import remove_stale
from lvsd.errors import ControlError
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from lvsd.control.server import ControlServer

    RunWith = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

AT_ONCE = 3 * MAX_CLIENTS
PATIENCE_S = 20.0 * PATIENCE


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a socket that listens and has all the clients waiting that it can."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            waiting.append(client)
            client.setblocking(False)
            try:
                client.connect(listener.getsockname())
            except BlockingIOError:
                break
            client.shutdown(socket.SHUT_WR)  # who accepts it sees at once that it asks nothing
        yield listener
        for client in waiting:
            client.close()


def serve(listener: socket.socket) -> None:
    """Accept everybody, and answer whoever asks, until one has."""
    while True:
        client, _ = listener.accept()
        with client, client.makefile("rb") as lines:
            if not lines.readline():
                continue
            client.sendall(b'{"result": "an answer"}\n')
            return


def test_a_client_waits_while_others_fill_the_backlog(listener: socket.socket) -> None:
    server = threading.Timer(0.1, serve, [listener])
    server.start()
    with ControlClient(listener.getsockname(), PATIENCE_S) as client:
        assert client.call("status") == "an answer"
    server.join()


def test_a_client_that_is_never_accepted_says_so_in_the_end(listener: socket.socket) -> None:
    path = listener.getsockname()
    with pytest.raises(ControlError) as caught:
        ControlClient(path, 0.05)
    assert str(caught.value) == (
        f"lvsd did not accept on {path} within 0.05 s: "
        "more clients wait than it serves; end some, or see its log"
    )


def test_a_socket_with_a_full_backlog_is_in_use_and_stays(
    listener: socket.socket, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="another lvsd is listening there"):
        remove_stale(tmp_path / "control.sock")
    assert listener.getsockname() == str(tmp_path / "control.sock")


def ask(path: Path) -> ControlClient | str:
    """Return a client that was served and stays, or what it was told instead."""
    try:
        client = ControlClient(path)
        client.call("timeouts")
    except ControlError as error:
        return str(error)
    return client


def test_of_a_crowd_so_many_are_served_and_each_of_the_others_is_told(
    server: ControlServer,
    run_with: RunWith,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "PLACE_S", 3600.0)  # nobody is idle for long
    told = f"lvsd: busy with {MAX_CLIENTS} others; try again"

    async def scenario() -> list[ControlClient | str]:
        served = [await asyncio.to_thread(ask, server.path) for _ in range(MAX_CLIENTS)]
        asking = (asyncio.to_thread(ask, server.path) for _ in range(AT_ONCE))
        others = await asyncio.gather(*asking)
        arguments = ["--control", str(server.path)]
        statuses = [
            await asyncio.to_thread(lvsadm.main, [command, *arguments]) for command in ("-L", "-Z")
        ]
        assert statuses == [lvsadm.LIST_FAILED, grammar.REFUSED]
        for client in served:
            assert isinstance(client, ControlClient)
            client.close()
        return others

    assert run_with(scenario) == [told] * AT_ONCE
    assert capsys.readouterr() == ("", f"{told}\n" * 2)
