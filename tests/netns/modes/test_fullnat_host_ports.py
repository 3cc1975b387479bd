"""FULLNAT's local ports and the host's own: neither takes the other's."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.core.host_ports import HOST_NEEDS
from lvsd.io import sysctls
from lvsd.lab import Lab, programs
from tests.netns.modes.site import MAPPED, forwarded
from tests.netns.traffic.site import FAMILIES, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

WEB = 81
HOST = range(32768, 61000)
KEPT = HOST[-HOST_NEEDS:]
RESERVED = "net.ipv4.ip_local_reserved_ports"
OPERATORS = "8080,9148-9150"
CONNECTIONS = 50


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have one real server, on a director with Linux's default range."""
    with Lab(name="lvsd-modes", ways=("fullnat",)) as lab:
        programs.nginx(lab.servers[0], ports=[MAPPED])
        lab.director.sysctl("net.ipv4.ip_local_port_range", f"{HOST[0]} {HOST[-1]}")
        lab.director.sysctl(RESERVED, OPERATORS)
        yield lab


def reserved(host: Namespace) -> str:
    with host.entered():
        return sysctls.read(RESERVED)


def asked(lab: Lab, family: Family) -> socket.socket:
    """Let the director ask the real server itself, from the local address; return the socket."""
    sock = opened(lab.director, family, socket.SOCK_STREAM)
    sock.bind((of(lab.local_addresses[0], family), 0))
    sock.connect((of(lab.servers[0].addresses, family), MAPPED))
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert sock.recv(100).startswith(b"HTTP/1.1 200")
    return sock


def test_the_hosts_own_connections_and_fullnats_have_ports_of_their_own(lab: Lab) -> None:
    with running(lab, forwarded(lab, "fullnat", WEB, rport=MAPPED)) as site:
        assert reserved(lab.director) == f"8080,9148-9150,{HOST[0]}-{KEPT[0] - 1}"
        with contextlib.ExitStack() as stack:
            for family in FAMILIES:
                for _ in range(CONNECTIONS):
                    site.get(family, WEB)
                    sock = stack.enter_context(asked(lab, family))
                    assert sock.getsockname()[1] in KEPT
        given = {entry["local_port"] for entry in site.connections}
        assert len(given) >= CONNECTIONS // 2  # of each of two local addresses
        assert given.isdisjoint(KEPT)
    assert reserved(lab.director) == OPERATORS


def test_the_host_has_all_ports_where_the_operator_says_so(lab: Lab) -> None:
    service = forwarded(lab, "fullnat", WEB, rport=MAPPED)
    with running(lab, "[sysctl]\nreserve_local_ports = false", service):
        assert reserved(lab.director) == OPERATORS


def test_an_empty_list_is_empty_again_after_a_daemon_that_was_killed(lab: Lab) -> None:
    with lab.director.entered():
        sysctls.write(RESERVED, "")
    table = forwarded(lab, "fullnat", WEB, rport=MAPPED, local_ports="40000-40009")
    daemon = programs.lvsd(lab.director, table)
    assert reserved(lab.director) == "40000-40009"
    daemon.process.kill()
    daemon.process.wait()
    with running(lab, table):
        assert reserved(lab.director) == "40000-40009"
    assert reserved(lab.director) == ""
