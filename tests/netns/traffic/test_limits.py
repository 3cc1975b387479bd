"""What lvsd does when it is full, and what it leaves alone when it is told to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.traffic.site import Site, both, complaints
from tests.netns.traffic.sockets import udp, udp_echoes
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family

PORT, RPORT = 7, 7007
ROOM = 5


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have one echo server."""
    with Lab(name="lvsd-traffic", servers=1) as lab, udp_echoes(lab.servers, RPORT):
        yield lab


@contextlib.contextmanager
def started(lab: Lab, *settings: str) -> Iterator[Site]:
    """Run lvsd with these lines at the top of its configuration."""
    text = "\n".join([*settings, both(lab, PORT, RPORT, protocol="udp")])
    daemon = programs.lvsd(lab.director, text)
    yield Site(lab, daemon)
    assert (daemon.stop(), complaints(daemon.log_file)) == (0, [])


def test_a_full_table_refuses_the_new_and_keeps_the_old(lab: Lab, family: Family) -> None:
    with (
        started(lab, "[daemon]", f"max_connections = {ROOM}") as site,
        contextlib.ExitStack() as stack,
    ):
        socks = [stack.enter_context(udp(lab.client, family)) for _ in range(ROOM + 1)]
        for sock in socks:
            sock.connect((site.vip(family), PORT))
        for sock in socks[:ROOM]:
            sock.send(b"first")
            assert sock.recv(100) == b"server1 first"

        socks[ROOM].send(b"one too many")
        assert until(lambda: site.drops["table_full"] == 1)
        for sock in socks[:ROOM]:
            sock.send(b"second")
            assert sock.recv(100) == b"server1 second"


def test_forwarding_is_left_to_the_operator_who_says_so(lab: Lab, family: Family) -> None:
    director = lab.director
    director.sysctl("net.ipv4.ip_forward", "1")
    director.sysctl("net.ipv6.conf.all.forwarding", "1")
    before = state(director)

    with started(lab, "[sysctl]", "forwarding = false") as site, udp(lab.client, family) as sock:
        sock.sendto(b"hello", (site.vip(family), PORT))
        assert sock.recv(100) == b"server1 hello"
        during = changes(before, state(director))

    assert set(during) == {"ruleset"}
    assert changes(before, state(director)) == {}
