"""What a reload removes and the next one brings back finds its connections alive."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab
from lvsd.lab.plan import BACK, DIRECTOR
from lvsd.lab.wait import until
from tests.netns.traffic.site import FAMILIES, Site, balanced, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

PORT, RPORT = 80, 8080


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have two real servers."""
    with Lab(name="lvsd-back", servers=2) as lab:
        yield lab


def tables(lab: Lab, forward: str, interface: str, *, servers: slice = slice(1)) -> str:
    """Return a service of each family on port 80."""
    found = []
    for family in FAMILIES:
        options: dict[str, Any] = {"forward": forward}
        if forward == "fullnat":
            options["local_addresses"] = [of(BACK.host(DIRECTOR), family)]
        if interface:
            options["interface"] = interface
        found.append(balanced(lab, family, PORT, RPORT, servers=servers, **options))
    return "\n".join(found)


def reload(site: Site, *services: str) -> None:
    """Have these services, and no others."""
    text = site.daemon.config_file.read_text()
    head = text.partition("[[service]]")[0]
    site.daemon.config_file.write_text("\n".join([head, *services]))
    control = ["--control", str(site.daemon.control)]
    site.lab.director.run([sys.executable, "-m", "lvsd", "reload", *control])


@contextmanager
def listening(host: Namespace, family: Family) -> Iterator[socket.socket]:
    """Listen as a real server."""
    with opened(host, family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((of(host.addresses, family), RPORT))
        listener.listen()
        yield listener


@contextmanager
def connected(site: Site, family: Family) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect a client through lvsd with the first real server; give both ends."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening(site.lab.servers[0], family))
        client = stack.enter_context(opened(site.lab.client, family, socket.SOCK_STREAM))
        client.connect((site.vip(family), PORT))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(client.gettimeout())
        yield client, server


def exchange(client: socket.socket, server: socket.socket) -> None:
    """Send something both ways."""
    for one, other in ((client, server), (server, client)):
        one.sendall(b"there")
        assert other.recv(100) == b"there"


def is_alive(end: socket.socket) -> bool:
    """Whether nothing has come to an end of a connection, no reset either."""
    patience = end.gettimeout()
    end.settimeout(0)
    try:
        end.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        end.settimeout(patience)
    return False


@pytest.mark.parametrize("what", ["service", "server"])
@pytest.mark.parametrize("interface", ["", "front"])
@pytest.mark.parametrize("forward", ["nat", "fullnat"])
def test_its_connections_live_on_in_between_and_go_on_afterwards(
    lab: Lab, family: Family, forward: str, interface: str, what: str
) -> None:
    whole = tables(lab, forward, interface)
    other = tables(lab, forward, interface, servers=slice(1, 2))
    with running(lab, whole) as site, connected(site, family) as (client, server):
        exchange(client, server)
        reload(site, *([other] if what == "server" else []))
        before = sum(site.drops.values())
        server.sendall(b"reply")
        assert client.recv(100) == b"reply"  # as with IPVS; its answer is dropped, as what follows
        client.sendall(b"request")
        assert until(lambda: sum(site.drops.values()) >= before + 4)
        assert is_alive(client)
        assert is_alive(server)
        assert len(site.connections) == 1
        reload(site, whole)
        assert server.recv(100) == b"request"
        exchange(client, server)
        entries = site.service(f"tcp-{PORT}-{family}")["servers"]
        assert [each["active"] for each in entries] == [1]
