"""Sockets of the tests in hosts of the lab, and UDP servers that say who they are."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.netns.traffic.site import PATIENCE_S, SOCKET_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

MAX_DATAGRAM = 65535


def opened(host: Namespace, family: Family, kind: int, protocol: int = 0) -> socket.socket:
    """Return a socket of a host, with a time limit."""
    with host.entered():
        sock = socket.socket(SOCKET_FAMILIES[family], kind, protocol)
    sock.settimeout(PATIENCE_S)
    return sock


@contextlib.contextmanager
def udp(host: Namespace, family: Family, source: str = "") -> Iterator[socket.socket]:
    """Open a UDP socket of a host, on one of its addresses if that is given."""
    with opened(host, family, socket.SOCK_DGRAM) as sock:
        if source:
            sock.bind((source, 0))
        yield sock


@dataclass
class Echo:
    """A UDP server: answers every datagram with its host's name, a space and the datagram."""

    host: Namespace
    sock: socket.socket
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    """Who sent what, by address."""

    def serve(self, stop: socket.socket) -> None:
        """Answer until ``stop`` can be read."""
        while stop not in (ready := select.select([self.sock, stop], [], [])[0]):
            assert ready
            data, peer = self.sock.recvfrom(MAX_DATAGRAM)
            self.heard.append((peer[0].removeprefix("::ffff:"), data))
            with contextlib.suppress(OSError):  # too long for what the test has done to the MTU
                self.sock.sendto(self.host.host.encode() + b" " + data, peer)


@contextlib.contextmanager
def udp_echo(host: Namespace, port: int, address: str = "::") -> Iterator[Echo]:
    """Run an `Echo` in a thread, on both families or on one IPv6 address.

    An IPv4 address is written ``::ffff:192.0.2.1``. On both families the answer's source is what
    the route says, so not a virtual address.
    """
    ours, its = socket.socketpair()
    with ours, its, opened(host, "v6", socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
        echo = Echo(host, sock)
        thread = threading.Thread(target=echo.serve, args=(its,))
        thread.start()
        try:
            yield echo
        finally:
            ours.send(b"stop")
            thread.join()


@contextlib.contextmanager
def udp_echoes(hosts: list[Namespace], port: int) -> Iterator[list[Echo]]:
    """Run an `Echo` in each host."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(udp_echo(host, port)) for host in hosts]
