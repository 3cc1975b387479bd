"""A UDP connection that was answered is forgotten before one that still waits, in real traffic."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab.wait import until
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, balanced, of, running
from tests.netns.traffic.sockets import MAX_DATAGRAM, opened, udp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PORT, RPORT = 53, 5353
WAITING_S, ANSWERED_S = 600, 1


@pytest.fixture(scope="module", params=["nat", "fullnat"])
def site(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Serve one real server over UDP, whose answered connections are soon forgotten."""
    keys: dict[str, Any] = {
        "protocol": "udp",
        "servers": slice(1),
        "forward": request.param,
        "udp_timeout_s": WAITING_S,
        "udp_answered_timeout_s": ANSWERED_S,
    }
    tables = []
    for family in FAMILIES:
        if request.param == "fullnat":
            local = of(lab.director.interface("back"), family)
            keys |= {"client_address": "none", "local_addresses": [local]}
        tables.append(balanced(lab, family, PORT, RPORT, **keys))
    with running(lab, *tables) as site:
        yield site


@pytest.fixture
def server(site: Site, family: Family) -> Iterator[socket.socket]:
    """Open the real server's socket; whether it answers is the test's business."""
    host = site.lab.servers[0]
    with opened(host, family, socket.SOCK_DGRAM) as sock:
        sock.bind((of(host.addresses, family), RPORT))
        yield sock


def ask(
    site: Site, family: Family, client: socket.socket, server: socket.socket
) -> tuple[Any, ...]:
    """Send a question, see it arrive, and return who seems to have sent it."""
    client.sendto(b"question", (site.vip(family), PORT))
    peer: tuple[Any, ...]
    said, peer = server.recvfrom(MAX_DATAGRAM)
    assert said == b"question"
    return peer


def answer(client: socket.socket, server: socket.socket, peer: tuple[Any, ...]) -> None:
    """Answer a question, and see the answer arrive."""
    server.sendto(b"answer", peer)
    assert client.recv(MAX_DATAGRAM) == b"answer"


def remaining(site: Site) -> dict[int, int]:
    """Return the seconds that each connection has left, by the client's port."""
    return {entry["client_port"]: entry["expires_s"] for entry in site.connections}


def test_what_was_answered_is_forgotten_first_and_a_new_question_waits_again(
    site: Site, family: Family, server: socket.socket
) -> None:
    with contextlib.ExitStack() as stack:
        answered, again, waiting = (
            stack.enter_context(udp(site.lab.client, family)) for _ in range(3)
        )
        ask(site, family, waiting, server)
        for client in (again, answered):
            answer(client, server, ask(site, family, client, server))
        ask(site, family, again, server)
        gone, *stay = (client.getsockname()[1] for client in (answered, again, waiting))

        assert until(lambda: gone not in remaining(site), PATIENCE_S)

        left = remaining(site)
        assert {port: left.get(port, 0) > ANSWERED_S for port in stay} == dict.fromkeys(stay, True)


def test_a_client_that_comes_back_after_its_answer_was_forgotten_is_served(
    site: Site, family: Family, server: socket.socket
) -> None:
    with udp(site.lab.client, family) as client:
        for _ in range(2):
            answer(client, server, ask(site, family, client, server))
            assert until(lambda: client.getsockname()[1] not in remaining(site), PATIENCE_S)
