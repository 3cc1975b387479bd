"""FULLNAT's streams: large ones under loss, and idle ones that are given up."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, counter, forwarded, lossy, sha256
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

WEB, IDLE, IDLE_RPORT = 80, 81, 9000
LOSS_PERCENT = 3
ESTABLISHED_S = 2


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Give established connections two seconds."""
    with Lab(name="lvsd-modes", ways=("fullnat",)) as lab:
        programs.nginx(lab.servers[0], ports=[MAPPED])
        with running(
            lab,
            f"[timeouts]\ntcp_s = {ESTABLISHED_S}",
            forwarded(lab, "fullnat", WEB, rport=MAPPED),
            forwarded(lab, "fullnat", IDLE, rport=IDLE_RPORT),
        ) as site:
            yield site


def test_twenty_megabytes_go_up_under_loss(site: Site, family: Family) -> None:
    client, (server,) = site.lab.client, site.lab.servers
    sent = programs.payload(client)
    before = counter(client, "TcpExtTCPSackRecovery")

    with lossy(site.lab.router, LOSS_PERCENT):
        target = site.url(family, WEB, f"/upload/{family}")
        client.run(["curl", "-sS", "--fail", "-T", sent, target])

    assert sha256(programs.uploaded(server, family)) == sha256(sent)
    assert counter(client, "TcpExtTCPSackRecovery") > before


def test_twenty_megabytes_come_down_under_loss(site: Site, family: Family) -> None:
    client, (server,) = site.lab.client, site.lab.servers
    target = client.directory / "down"
    before = counter(server, "TcpExtTCPSackRecovery")

    with lossy(site.lab.router, LOSS_PERCENT):
        url = site.url(family, WEB, "/file")
        client.run(["curl", "-sS", "--fail", "-o", target, url])

    assert sha256(target) == sha256(programs.payload(client))
    assert counter(server, "TcpExtTCPSackRecovery") > before


def test_connections_that_expire_are_reset_at_both_ends(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        ends = [
            end
            for family in FAMILIES
            for talk in (False, True)
            for end in stack.enter_context(connected(site, family, talk=talk))
        ]

        for end in ends:
            with pytest.raises(ConnectionResetError):
                end.recv(100)

    assert until(lambda: IDLE not in {entry["virtual_port"] for entry in site.connections})


@contextlib.contextmanager
def connected(
    site: Site, family: Family, *, talk: bool
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect the client and the server, and let them exchange a word or none."""
    (server,) = site.lab.servers
    with (
        opened(server, family, socket.SOCK_STREAM) as listener,
        opened(site.lab.client, family, socket.SOCK_STREAM) as near,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((of(server.addresses, family), IDLE_RPORT))
        listener.listen()
        near.connect((site.vip(family), IDLE))
        far, _ = listener.accept()
        listener.close()
        with far:
            far.settimeout(PATIENCE_S)
            if talk:
                near.sendall(b"question")
                assert far.recv(100) == b"question"
                far.sendall(b"answer")
                assert near.recv(100) == b"answer"
            yield near, far
