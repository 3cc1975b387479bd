"""FULLNAT's local ports with real TCPs: used again at once, used up, and given up."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, forwarded, overheard
from tests.netns.traffic.site import FAMILIES, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

REUSED, ONE = 81, 82
"""Services: one whose few ports are used again, and one that has a single port."""

FEW = 16
CLIENTS = 10
"""Addresses of clients in a round; each has a clock and sequence numbers of its own."""

FIRST_PORT, ONLY_PORT = 40001, 50001
GREETING = b"served"
SYN = "(tcp[13] & 2 != 0 or ip6[53] & 2 != 0)"
ENDED_S = 60.0
"""A connection that both sides have closed is forgotten after 7 s, and a tick, where nothing else
runs."""

LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER: send a RST at close."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have one real server, which closes its connections itself, so that it has TIME_WAIT."""
    with Lab(name="lvsd-modes", ways=("fullnat",)) as lab, closing(lab.servers[0], MAPPED):
        yield lab


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Give services very few local ports, on one address."""
    tables = [
        forwarded(
            lab,
            "fullnat",
            port,
            rport=rport,
            families=[family],
            local_addresses=[of(lab.local_addresses[0], family)],
            local_ports=f"{first}-{last}",
        )
        for family in FAMILIES
        for port, rport, first, last in (
            (REUSED, MAPPED, FIRST_PORT, FIRST_PORT + FEW - 1),
            (ONE, MAPPED + 1, ONLY_PORT, ONLY_PORT),
        )
    ]
    with running(lab, *tables) as site:
        yield site


@contextlib.contextmanager
def listening(host: Namespace, port: int) -> Iterator[socket.socket]:
    """Open a listener on both families."""
    with opened(host, "v6", socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen(64)
        yield listener


@contextlib.contextmanager
def closing(host: Namespace, port: int) -> Iterator[None]:
    """Run a server that says `GREETING` and closes."""
    ours, its = socket.socketpair()

    def serve() -> None:
        while its not in select.select([listener, its], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(GREETING)

    with ours, its, listening(host, port) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ours.send(b"stop")
            thread.join()


def visit(site: Site, family: Family, source: int) -> bytes:
    """Connect from one of the client's addresses; read to the end, then close."""
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        sock.bind((site.source(family, source), 0))
        sock.connect((site.vip(family), REUSED))
        return b"".join(iter(lambda: sock.recv(100), b""))


def waiting(site: Site) -> set[tuple[str, int]]:
    """Return whose connections are in TIME_WAIT on the server, by address and port."""
    argv = ["ss", "-Htn", "state", "time-wait", "sport", "=", f":{MAPPED}"]
    peers = (line.split()[-1] for line in site.lab.servers[0].run(argv).stdout.splitlines())
    ends = (peer.rpartition(":") for peer in peers)
    return {(address.strip("[]").removeprefix("::ffff:"), int(port)) for address, _, port in ends}


def test_a_server_in_time_wait_takes_each_port_again_at_once(site: Site) -> None:
    server, client = site.lab.servers[0], site.lab.client
    ends = {
        (of(site.lab.local_addresses[0], family), port)
        for family in FAMILIES
        for port in range(FIRST_PORT, FIRST_PORT + FEW)
    }
    rounds = []
    for number in range(2):
        answers = []
        with overheard(server, "eth0", f"port {MAPPED} and {SYN}") as syns:
            for index in range(FEW):
                # Timestamps: never, in either round only, in both, where the second round's come
                # from another client's clock.
                client.sysctl("net.ipv4.tcp_timestamps", str(index >> number & 1))
                source = number * CLIENTS + index % CLIENTS
                answers += [visit(site, family, source) for family in FAMILIES]
        rounds.append((answers, syns.packets, waiting(site)))
        if not number:
            assert until(lambda: not site.connections, ENDED_S)

    # Each time a SYN and its answer, and neither sent again.
    assert rounds == [([GREETING] * 2 * FEW, 4 * FEW, ends)] * 2


def test_used_up_ports_are_counted_told_and_given_again(site: Site) -> None:
    before = site.drops["no_local_port"]

    with listening(site.lab.servers[0], MAPPED + 1), contextlib.ExitStack() as stack:
        refused = []
        for family in FAMILIES:
            first = stack.enter_context(opened(site.lab.client, family, socket.SOCK_STREAM))
            first.connect((site.vip(family), ONE))
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            with opened(site.lab.client, family, socket.SOCK_STREAM) as second:
                refused.append(second.connect_ex((site.vip(family), ONE)))
        counted = site.drops["no_local_port"] - before
        stack.pop_all().close()

        assert (refused, counted) == ([errno.ECONNREFUSED] * 2, 2)
    with listening(site.lab.servers[0], MAPPED + 1):
        assert until(lambda: all(connects(site, family) for family in FAMILIES))


def connects(site: Site, family: Family) -> bool:
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        return sock.connect_ex((site.vip(family), ONE)) == 0
