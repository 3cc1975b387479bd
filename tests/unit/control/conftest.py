"""A director with two services, and its control socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from forwarders.nat import Nat
from lvsd import turns
from lvsd.config.plugins import make_scheduler
from lvsd.control.answers import answers
from lvsd.control.methods import Context
from lvsd.control.server import ControlServer
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.packet.address import pack
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from pathlib import Path

    from lvsd.control.peers import Peer

    Exchange = Callable[..., list[dict[str, Any]]]

NOW = 1000.0
GROUPS = {"queue": {"received": 9, "kernel_dropped": 2}, "icmp": {"sent": 1}}
WEB = ServiceKey(TCP, pack("192.0.2.10"), 80)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer have one slice, however slow the machine is, unless a test says otherwise."""
    monkeypatch.setattr(turns, "SLICE_S", 3600.0)


@pytest.fixture
def balancer() -> Balancer:
    balancer = Balancer(make_scheduler, now=NOW)
    web = ServiceConfig(WEB, "rr", name="web", persistence_s=300, prefix=24)
    balancer.apply([AddService(web)], NOW)
    for host in (11, 12):
        wanted = ServerConfig(pack(f"10.0.0.{host}"), 8080, Nat(), weight=host, upper=9)
        balancer.apply([AddServer(WEB, wanted)], NOW)
        server = balancer.services.get(WEB).servers[0]
        server.meter.stats.connections = host
        server.meter.stats.in_bytes = 1000 * host
    balancer.apply([AddService(ServiceConfig(ServiceKey(fwmark=7, family=6), "rr"))], NOW)
    return balancer


@pytest.fixture
def server(balancer: Balancer, tmp_path: Path) -> ControlServer:
    return ControlServer(answering(balancer), tmp_path / "control.sock")


def answering(balancer: Balancer) -> Callable[[bytes, Peer], AsyncGenerator[bytes]]:
    """Return what answers anybody's questions about a director."""
    context = Context(balancer, balancer.now, lambda: GROUPS)
    own = turns.Turns()
    return lambda line, _: answers(context, line, own)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run_with(
    server: ControlServer, request: pytest.FixtureRequest
) -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    """Return a function that runs a coroutine function while the server serves."""

    def run(scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def around() -> Any:
            await server.start()
            try:
                async with asyncio.timeout(10):
                    return await scenario()
            finally:
                await server.stop()

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(around())

    return run


@pytest.fixture
def exchange(
    server: ControlServer, run_with: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
) -> Exchange:
    """Return a function that sends bytes to the server and returns all lines it answers."""

    def send(*lines: bytes) -> list[dict[str, Any]]:
        async def scenario() -> list[dict[str, Any]]:
            reader, writer = await asyncio.open_unix_connection(server.path)
            writer.write(b"".join(lines))
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return [json.loads(line) for line in answer.splitlines()]

        answers: list[dict[str, Any]] = run_with(scenario)
        return answers

    return send
