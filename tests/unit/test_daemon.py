"""The composition root, as far as it works without the kernel's consent."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.config.load import validate
from lvsd.core.verdict import Departure
from lvsd.daemon import Daemon, cleanup
from lvsd.errors import KernelError
from lvsd.io import machine, routes
from lvsd.signals import StopRequest
from tests.unit.core.world import Segment, raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATAGRAM = raw(
    Segment("udp", "10.0.0.1", 1, "10.0.0.2", 2, payload=bytes(1400), dont_fragment=False)
)


@pytest.fixture
def daemon() -> Daemon:
    """Return a daemon of one service that has opened nothing."""
    service = {"name": "web", "address": "192.0.2.1:80", "protocol": "tcp"}
    config, faults = validate({"service": [service]})
    assert config is not None, faults
    return Daemon(config, StopRequest())


def _senders(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, mtu: Callable[[bytes], int]
) -> list[bytes]:
    """Let the daemon's senders say that a packet is longer than ``mtu`` of it, where that is so.

    Return the list of what they take.
    """
    taken: list[bytes] = []

    def send(packet: Departure | bytes, *_: object) -> int:
        data = packet.data if isinstance(packet, Departure) else packet
        if len(data) > mtu(data):
            return mtu(data)
        taken.append(data)
        return 0

    monkeypatch.setattr(daemon.packets, "send", send)
    monkeypatch.setattr(daemon.frames, "send", send)
    return taken


@pytest.mark.parametrize("neighbour", [None, bytes((10, 0, 0, 2))])
def test_what_is_too_long_for_its_way_is_cut_and_sent(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, neighbour: bytes | None
) -> None:
    taken = _senders(daemon, monkeypatch, lambda _: 576)
    daemon.balancer.outbox.departures.append(Departure(DATAGRAM, neighbour, DATAGRAM, 1))
    daemon.send_waiting()
    assert [len(piece) for piece in taken] == [572, 572, 324]


@pytest.mark.parametrize("mtu", [lambda data: len(data) - 1, lambda _: 67, lambda _: 1])
def test_sending_ends_whatever_the_senders_say_of_their_mtu(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, mtu: Callable[[bytes], int]
) -> None:
    taken = _senders(daemon, monkeypatch, mtu)
    daemon.balancer.outbox.departures.append(Departure(DATAGRAM, None, DATAGRAM, 1))
    daemon.send_waiting()
    assert (taken, daemon.balancer.outbox.departures) == ([], [])
    assert daemon.balancer.tally.dropped()["too_big"] > 0


def test_what_is_left_to_send_when_the_sockets_are_closed_is_counted(daemon: Daemon) -> None:
    daemon.balancer.outbox.departures.append(Departure(DATAGRAM))
    daemon.send_waiting()
    assert daemon.counters()["packets"]["failed"] == 1
    assert daemon.balancer.outbox.departures == []


def test_a_kernel_that_does_not_answer_about_routes_leaves_what_is_known(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> dict[int, int]:
        raise KernelError("list the links", "busy", "try again")

    monkeypatch.setattr(routes, "link_mtus", refuse)
    daemon.balancer.network.link_mtus = {1: 1500}

    async def relearn() -> None:
        daemon.relearn_routes()
        await daemon.ways.done()

    asyncio.run(relearn())
    assert daemon.balancer.network.link_mtus == {1: 1500}


@pytest.fixture
def nothing_else_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cleanup", lambda _: [])


@pytest.mark.usefixtures("nothing_else_left")
def test_a_clean_up_removes_the_socket_that_a_killed_daemon_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    cleanup(path)
    cleanup(path)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"removed the control socket {path}", "nothing was left behind"]
    assert not path.exists()


@pytest.mark.usefixtures("nothing_else_left")
def test_a_clean_up_leaves_a_socket_that_somebody_listens_on_and_any_other_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    living, file = tmp_path / "control.sock", tmp_path / "file"
    file.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(living))
        listener.listen()
        for path in (living, file):
            cleanup(path)
            assert path.exists()
    assert capsys.readouterr().out == "nothing was left behind\n" * 2
