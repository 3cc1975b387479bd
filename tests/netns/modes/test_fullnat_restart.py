"""FULLNAT after a restart, with real TCPs: the server still has the last daemon's connections.

The local ports are hardly more than the connections that were open, so that new ones meet old ones.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, forwarded, overheard
from tests.netns.traffic.site import FAMILIES, Site, complaints, of
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

WEB = 81
OPEN, NEW = 150, 20
"""Connections of each family before and after."""

FIRST_PORT = 40001
GREETING = b"served"
CLIENTS_SYN = f"outbound and port {WEB} and (tcp[13] & 18 == 2 or ip6[53] & 18 == 2)"

HALVES = ("open", "the client has closed", "the server has closed", "the server is gone")


@dataclass
class Greeter:
    """A server that greets, and then ends connections as it is told: `HALVES`."""

    listener: socket.socket
    half: str = HALVES[0]
    held: list[socket.socket] = field(default_factory=list)

    def serve(self, stop: socket.socket) -> None:
        """Take connections until ``stop`` can be read."""
        while stop not in select.select([self.listener, stop], [], [])[0]:
            connection, _ = self.listener.accept()
            connection.sendall(GREETING)
            if self.half == "the server has closed":
                connection.shutdown(socket.SHUT_WR)
            if self.half == "the server is gone":
                connection.close()
            else:
                self.held.append(connection)

    def drop(self) -> None:
        """Close what is held."""
        while self.held:
            self.held.pop().close()


@contextlib.contextmanager
def greeting(host: Namespace) -> Iterator[Greeter]:
    """Run a `Greeter` on both families."""
    ours, its = socket.socketpair()
    with ours, its, opened(host, "v6", socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", MAPPED))
        listener.listen(512)
        greeter = Greeter(listener)
        thread = threading.Thread(target=greeter.serve, args=(its,))
        thread.start()
        try:
            yield greeter
        finally:
            ours.send(b"stop")
            thread.join()
            greeter.drop()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have one real server."""
    with Lab(name="lvsd-modes", ways=("fullnat",)) as lab:
        yield lab


@pytest.fixture(scope="module")
def greeter(lab: Lab) -> Iterator[Greeter]:
    """Let it hold connections."""
    with greeting(lab.servers[0]) as greeter:
        yield greeter


def started(lab: Lab) -> programs.Daemon:
    tables = [
        forwarded(
            lab,
            "fullnat",
            WEB,
            rport=MAPPED,
            families=[family],
            local_addresses=[of(lab.local_addresses[0], family)],
            local_ports=f"{FIRST_PORT}-{FIRST_PORT + OPEN + NEW - 1}",
        )
        for family in FAMILIES
    ]
    return programs.lvsd(lab.director, "\n".join(["[daemon]", 'log_format = "json"', *tables]))


def connected(site: Site, family: Family) -> socket.socket:
    sock = opened(site.lab.client, family, socket.SOCK_STREAM)
    sock.connect((site.vip(family), WEB))
    assert sock.recv(100) == GREETING
    return sock


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill -9"])
def test_after_a_restart_every_client_connects_at_its_first_try(
    lab: Lab, greeter: Greeter, ended: signal.Signals, half: str
) -> None:
    greeter.half = half
    with contextlib.ExitStack() as stack:
        stack.callback(greeter.drop)
        first = started(lab)
        stack.callback(first.stop)
        for family in FAMILIES:
            for _ in range(OPEN):
                sock = stack.enter_context(connected(Site(lab, first), family))
                if half == "the client has closed":
                    sock.shutdown(socket.SHUT_WR)
        first.process.send_signal(ended)
        assert first.process.wait() == (0 if ended == signal.SIGTERM else -ended)
        greeter.half = HALVES[0]

        second = started(lab)
        stack.callback(second.stop)
        with overheard(lab.client, "eth0", CLIENTS_SYN) as syns:
            for family in FAMILIES:
                for _ in range(NEW):
                    stack.enter_context(connected(Site(lab, second), family))

        assert syns.packets == len(FAMILIES) * NEW
    assert (second.stop(), complaints(second.log_file)) == (0, [])


def test_a_stop_leaves_no_connection_at_either_end(lab: Lab, greeter: Greeter) -> None:
    greeter.half = HALVES[0]
    with contextlib.ExitStack() as stack:
        stack.callback(greeter.drop)
        daemon = started(lab)
        stack.callback(daemon.stop)
        socks = [
            stack.enter_context(connected(Site(lab, daemon), family))
            for family in FAMILIES
            for _ in range(OPEN)
        ]
        assert daemon.stop() == 0
        assert until(lambda: not established(lab.servers[0]))
        for sock in socks:
            with pytest.raises(ConnectionResetError):
                sock.recv(100)


def established(host: Namespace) -> str:
    argv = ["ss", "-Htn", "state", "established", "sport", "=", f":{MAPPED}"]
    return host.run(argv).stdout
