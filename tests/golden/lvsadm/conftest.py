"""A daemon's control socket over a state that was recorded from kernel IPVS."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import FORWARDERS, Tun
from lvsd.control import names
from lvsd.control.answers import answers
from lvsd.control.methods import Context
from lvsd.control.server import ControlServer
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.stats import Meter, Rates, Totals
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.packet.address import pack
from lvsd.turns import Turns
from schedulers.base import Flow, Scheduler, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from forwarders.base import Forwarder
    from lvsd.core.commands import Changes, Command

State = dict[str, Any]


class _Meter(Meter):
    """Shows what was recorded."""

    def __init__(self, recorded: State) -> None:
        super().__init__()
        self._recorded = recorded

    @property
    def totals(self) -> Totals:
        return Totals(*self._recorded["stats"])

    @property
    def rates(self) -> Rates:
        return Rates(*self._recorded["rates"])


class _Scheduler(Scheduler):
    """Has a name and flags."""

    def __init__(self, name: str, flags: frozenset[str]) -> None:
        self.name, self.known_flags = name, flags  # type: ignore[misc]  # one class for all
        super().__init__(flags)

    def add(self, server: Server) -> None: ...

    def remove(self, server: Server) -> None: ...

    def pick(self, flow: Flow, now: float) -> Server | None:
        raise NotImplementedError


@dataclass(frozen=True)
class _Connection:
    protocol: int
    client: bytes
    client_port: int
    vip: bytes
    vport: int
    rip: bytes
    rport: int
    state_name: str
    expires: float
    template: bool
    fwmark: int = 0
    local: None = None


class _RecordedDirector:
    """A director in the state that the kernel was in."""

    def __init__(self, state: State) -> None:
        self._balancer = Balancer(_Scheduler, now=1000.0)
        self.services = self._balancer.services
        self.now = self._balancer.now
        self._state = state
        for recorded in state["services"]:
            self._add(recorded)

    def connections(self) -> Iterator[_Connection]:
        for recorded in self._state["connections"]:
            ends = zip(map(pack, recorded["addresses"]), recorded["ports"], strict=True)
            (client, client_port), (vip, vport), (rip, rport) = ends
            yield _Connection(
                recorded["protocol"], client, client_port, vip, vport, rip, rport,
                recorded["state"], self.now + recorded["expires_s"] + 0.9, client_port == 0,
            )  # fmt: skip

    def timeouts(self) -> tuple[int, int, int]:
        tcp, tcp_fin, udp = self._state["timeouts"]
        return tcp, tcp_fin, udp

    def apply(self, commands: Iterable[Command], now: float) -> Changes:
        return self._balancer.apply(commands, now)

    def counters(self) -> dict[str, int]:
        return {}

    def dropped(self) -> dict[str, int]:
        return {}

    def _add(self, recorded: State) -> None:
        """Have a service with its real servers as they were recorded."""
        key = ServiceKey(
            recorded["protocol"],
            pack(recorded["address"]) if recorded["address"] else b"",
            recorded["port"],
            recorded["fwmark"],
            recorded["family"],
        )
        wanted = ServiceConfig(
            key,
            recorded["scheduler"],
            frozenset(recorded["flags"]),
            persistence_s=recorded["persistence_s"],
            prefix=recorded["prefix"],
            one_packet=recorded["one_packet"],
        )
        servers = reversed([_server_config(each) for each in recorded["servers"]])
        self.apply([AddService(wanted), *(AddServer(key, each) for each in servers)], self.now)
        service = self.services.get(key)
        service.meter = _Meter(recorded)
        for server, each in zip(service.servers, recorded["servers"], strict=True):
            server.active = each["active"]
            server.total = each["active"] + each["inactive"]
            server.templates = each["templates"]
            server.meter = _Meter(each)


def _server_config(recorded: State) -> ServerConfig:
    return ServerConfig(
        pack(recorded["address"]),
        recorded["port"],
        _forwarder(recorded),
        weight=recorded["weight"],
        upper=recorded["upper"],
        lower=recorded["lower"],
    )


def _forwarder(recorded: State) -> Forwarder:
    if recorded["tunnel"] is not None:
        return Tun(*recorded["tunnel"])
    return FORWARDERS[recorded["forward"]]()


@contextmanager
def _serving(director: _RecordedDirector, path: Path) -> Iterator[None]:
    """Serve a director on a socket, in a thread of its own, for as long as it is needed."""
    loop = asyncio.new_event_loop()
    context, turns = Context(director, director.now), Turns()
    server = ControlServer(lambda line, _: answers(context, line, turns), path)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.stop())
        loop.close()


@pytest.fixture
def serving(tmp_path: Path) -> Callable[[State], AbstractContextManager[Path]]:
    """Return a context manager that serves a recorded state and gives the socket's path."""

    @contextmanager
    def serve(state: State) -> Iterator[Path]:
        path = tmp_path / "control.sock"
        with _serving(_RecordedDirector(state), path):
            yield path

    return serve


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[State], None]]:
    """Return a function that makes the system know just the recorded names."""

    def install(state: State) -> None:
        hosts, services = state["names"], state["ports"]
        by_name = {name: address for address, name in hosts.items() if ":" not in address}
        numbers = {
            (name, port.split("/")[1]): int(port.split("/")[0]) for port, name in services.items()
        }

        def look_up(table: dict[Any, Any], key: Any) -> Any:
            if key not in table:
                raise OSError("unknown")
            return table[key]

        replaced = {
            "gethostbyaddr": lambda address: (look_up(hosts, address), [], [address]),
            "getservbyport": lambda port, protocol: look_up(services, f"{port}/{protocol}"),
            "gethostbyname": lambda name: by_name.get(name, name),
            "getservbyname": lambda name, protocol: look_up(numbers, (name, protocol)),
        }
        for name, function in replaced.items():
            monkeypatch.setattr(socket, name, function)

    def forget() -> None:
        names._host.cache_clear()
        names._service.cache_clear()

    forget()
    yield install
    forget()
