"""Both ends of a connection that lvsd has lost are told; others are let be."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING, Final

import pytest

from tests.netns.traffic.site import PATIENCE_S, SOCKET_FAMILIES, both, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PORT, RPORT, OWN_PORT = 80, 7080, 7081
ONE: Final = slice(1)


@contextlib.contextmanager
def talking(
    lab: Lab, family: Family, destination: tuple[str, int]
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a connection from the client; yield the client's socket and the real server's."""
    server = lab.servers[0]
    with opened(server, family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((of(server.addresses, family), RPORT))
        listener.listen()
        with opened(lab.client, family, socket.SOCK_STREAM) as client:
            client.connect(destination)
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(PATIENCE_S)
                client.sendall(b"request")
                assert accepted.recv(100) == b"request"
                yield client, accepted


def site(lab: Lab) -> contextlib.AbstractContextManager[Site]:
    """Run a service of one real server."""
    return running(lab, both(lab, PORT, RPORT, servers=ONE))


def test_a_client_of_a_lost_connection_is_told_with_its_next_packet(
    lab: Lab, family: Family
) -> None:
    with contextlib.ExitStack() as open_:
        with site(lab) as first:
            vip = first.vip(family)
            client, _ = open_.enter_context(talking(lab, family, (vip, PORT)))
        with site(lab) as second:
            client.sendall(b"more")
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            assert second.drops["no_connection"] >= 1
            assert second.call("status")["groups"]["refusals"]["sent"] >= 1


def test_a_real_server_of_a_lost_connection_is_told_and_its_client_gets_nothing(
    lab: Lab, family: Family
) -> None:
    with contextlib.ExitStack() as open_:
        with site(lab) as first:
            vip = first.vip(family)
            client, server = open_.enter_context(talking(lab, family, (vip, PORT)))
        with site(lab):
            server.sendall(b"answer")
            with pytest.raises(ConnectionResetError):
                server.recv(100)
            assert select.select([client], [], [], 0)[0] == []


def test_a_client_that_asks_the_real_server_itself_is_let_be(lab: Lab, family: Family) -> None:
    server = of(lab.servers[0].addresses, family)
    with (
        site(lab),
        talking(lab, family, (server, RPORT)) as (client, accepted),
    ):
        for _ in range(3):
            accepted.sendall(b"answer")
            assert client.recv(100) == b"answer"
            client.sendall(b"request")
            assert accepted.recv(100) == b"request"


def test_a_connection_of_the_real_servers_own_is_let_be(lab: Lab, family: Family) -> None:
    server, client = lab.servers[0], lab.client
    with (
        site(lab),
        opened(client, family, socket.SOCK_STREAM) as listener,
        opened(server, family, socket.SOCK_STREAM) as own,
    ):
        assert own.family == SOCKET_FAMILIES[family]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((of(client.addresses, family), OWN_PORT))
        listener.listen()
        own.bind((of(server.addresses, family), RPORT))
        own.connect(listener.getsockname()[:2])
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(PATIENCE_S)
            own.sendall(b"question")
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer")
            assert own.recv(100) == b"answer"
