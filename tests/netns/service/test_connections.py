"""Connections under systemd: what `systemctl` does to lvsd, and kill -9, breaks none of them."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from lvsd.lab.wait import PATIENCE, until
from lvsd.net.namespaces import entered
from tests.netns.service.manager import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.service.manager import Manager

VIP: Final = ("203.0.113.10", 80)
SERVER: Final = ("10.0.0.11", 8080)
SERVICE: Final = """
[[service]]
name = "web"
address = "203.0.113.10:80"
protocol = "tcp"
interface = "front"
"""
CONFIGURATIONS: Final = {
    "nat": SERVICE,
    "fullnat": f'{SERVICE}forward = "fullnat"\nlocal_addresses = ["10.0.0.1"]\n',
}
REAL_SERVER: Final = '[[service.server]]\naddress = "10.0.0.11:8080"\n'

NEIGHBOURS: Final = """
host() {
    ip netns add "$1"
    ip link set "$2" netns "$1"
    ip -n "$1" address add "$3" dev "$2"
    ip -n "$1" link set "$2" up
    ip -n "$1" route add default via "$4"
}
set -e
host client far 203.0.113.2/24 203.0.113.1
host server server 10.0.0.11/24 10.0.0.1
"""
NO_NEIGHBOURS: Final = """
ip -n client link set far netns 1
ip -n server link set server netns 1
ip netns delete client
ip netns delete server
ip link set far up
ip link set server up
"""


@pytest.fixture
def hosts(systemd: Manager) -> Iterator[Manager]:
    """Put a client and a real server behind the machine's two links."""
    done = systemd.run("sh", "-c", NEIGHBOURS)
    assert done.returncode == 0, done.stderr
    try:
        yield systemd
    finally:
        systemd.run("sh", "-c", NO_NEIGHBOURS)


def opened(systemd: Manager, host: str) -> socket.socket:
    """Return a TCP socket of a host."""
    with entered(str(systemd.root / "run/netns" / host)):
        sock = socket.socket()
    sock.settimeout(20.0 * PATIENCE)
    return sock


@contextmanager
def echoing(systemd: Manager) -> Iterator[None]:
    """Answer all connections of the real server with what they say."""
    with opened(systemd, "server") as listener, ExitStack() as stack:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(SERVER)
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(stack.enter_context(sock),)).start()

        def echo(sock: socket.socket) -> None:
            sock.settimeout(None)
            with sock:
                while data := sock.recv(100):
                    sock.sendall(data)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def say(sock: socket.socket, words: bytes) -> None:
    """Say something, and have it back from the real server."""
    sock.sendall(words)
    assert sock.recv(100) == words


def restart(systemd: Manager) -> None:
    assert systemd.systemctl("restart", "lvsd").returncode == 0, systemd.said()


def stop_and_start(systemd: Manager) -> None:
    assert systemd.systemctl("stop", "lvsd").returncode == 0, systemd.said()
    systemd.start("lvsd")


def reload(systemd: Manager) -> None:
    assert systemd.systemctl("reload", "lvsd").returncode == 0, systemd.said()


def upgrade(systemd: Manager) -> None:
    done = systemd.run("lvsd", "upgrade", "-c", "/etc/lvsd/lvsd.toml")
    assert done.returncode == 0, (done.stderr, systemd.said())


def kill(systemd: Manager) -> None:
    before = systemd.shows("lvsd", "MainPID")
    systemd.systemctl("kill", "--signal=KILL", "lvsd")
    assert until(lambda: systemd.shows("lvsd", "MainPID") not in {before, "0"}, TIMEOUT_S)
    systemd.settled("lvsd", "active")


@pytest.mark.parametrize("mode", CONFIGURATIONS)
def test_a_connection_goes_on_whatever_systemd_does(hosts: Manager, mode: str) -> None:
    hosts.configure(CONFIGURATIONS[mode] + REAL_SERVER)
    hosts.start("lvsd")
    with echoing(hosts), ExitStack() as stack:
        old: list[socket.socket] = []
        for event in (reload, upgrade, restart, upgrade, stop_and_start, kill):
            new = stack.enter_context(opened(hosts, "client"))
            new.connect(VIP)
            old.append(new)
            event(hosts)
            for sock in old:
                say(sock, f"{event.__name__}\n".encode())
