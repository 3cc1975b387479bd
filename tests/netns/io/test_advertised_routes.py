"""A host with its default route from router advertisements begins to forward IPv6."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from lvsd.io import sysctls
from lvsd.io.journal import Journal
from lvsd.io.machine import Machine, cleanup
from tests.netns.io.hosts import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.netns.io.hosts import Row

FORWARDING = "net.ipv6.conf.all.forwarding"
ACCEPT_RA = "net.ipv6.conf.eth0.accept_ra"

# RFC 4861 section 4.2: type, code, checksum (the kernel's), hop limit, flags, lifetime, timers
ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
ALL_NODES = "ff02::1"


def advertised() -> list[str]:
    """Return the interfaces that default routes from router advertisements lead out of."""
    command = ["ip", "-6", "-json", "route", "show", "default", "proto", "ra"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [route["dev"] for route in json.loads(done.stdout)]


def advertise(row: Row) -> None:
    """Send advertisements from the client until the director has a default route by them."""
    deadline = time.monotonic() + PATIENCE_S
    with row.client.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        eth0 = socket.if_nametoindex("eth0")
    with sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        while not advertised():
            assert time.monotonic() < deadline, "no advertisement was taken"
            sock.sendto(ADVERTISEMENT, (ALL_NODES, 0, 0, eth0))
            time.sleep(0.02)  # the route comes a moment later, and nothing tells of it


@pytest.fixture(autouse=True)
def host(row: Row) -> Iterator[None]:
    """Make the director a host that forwards nothing and heard a router."""
    sysctls.write(FORWARDING, "0")
    advertise(row)
    yield
    row.director.ip("-6 route flush proto ra")
    sysctls.write(FORWARDING, "1")


def test_forwarding_alone_costs_the_route(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "journal.json")
    machine.set_sysctl(FORWARDING, 1)
    assert advertised() == []
    machine.restore()


def test_the_route_outlives_forward_and_restore(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "journal.json")
    machine.forward(4)
    machine.forward(6)
    assert (sysctls.read(FORWARDING), sysctls.read(ACCEPT_RA)) == ("1", "2")
    assert advertised() == ["eth0"]
    lines = machine.restore()
    assert lines[0] == f"set {FORWARDING} back to 0"
    assert f"set {ACCEPT_RA} back to 1" in lines
    assert (sysctls.read(FORWARDING), sysctls.read(ACCEPT_RA)) == ("0", "1")
    assert advertised() == ["eth0"]


def test_a_director_goes_on_to_hear_routers(tmp_path: Path, row: Row) -> None:
    machine = Machine(tmp_path / "journal.json")
    machine.forward(6)
    row.director.ip("-6 route flush proto ra")
    advertise(row)
    assert advertised() == ["eth0"]
    machine.restore()


def test_cleanup_puts_accept_ra_back_that_a_killed_daemon_set(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Machine(path).forward(6)
    left = Journal.read(path)
    assert left is not None
    left.started = 0
    left.write(path)
    assert f"set {ACCEPT_RA} back to 1" in cleanup(path)
    assert (sysctls.read(FORWARDING), sysctls.read(ACCEPT_RA)) == ("0", "1")
    assert advertised() == ["eth0"]
