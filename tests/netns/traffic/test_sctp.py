"""SCTP through the director: hand-made packets, and sockets where the kernel has them."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Self

import google_crc32c
import pytest
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkInitAck,
)

from tests.netns.traffic.site import both, of, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab, Namespace
    from tests.netns.traffic.site import Family, Site

VPORT, RPORT = 3868, 9868
CPORT = 41000
CLIENT_TAG, SERVER_TAG = 0x11223344, 0x55667788
"""Initiate tags: each end puts the other's into its packets (RFC 9260 section 3.1)."""

CHECKSUM = slice(8, 12)
SOCK_STREAM = socket.SOCK_STREAM
SCTP_NUMBER = socket.IPPROTO_SCTP


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """One server, so that the packets have somewhere certain to go, on a mapped port."""
    with running(lab, both(lab, VPORT, RPORT, servers=slice(1), protocol="sctp")) as site:
        yield site


class End:
    """One end of an association, on a raw socket: SCTP packets without their IP header."""

    def __init__(self, host: Namespace, family: Family) -> None:
        self.family = family
        self.sock = opened(host, family, socket.SOCK_RAW, SCTP_NUMBER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, packet: SCTP, to: str) -> None:
        """Send a packet, its checksum worked out by scapy."""
        self.sock.sendto(bytes(packet), (to, 0))

    def receive(self) -> tuple[str, bytes]:
        """Return who sent the next packet, and its bytes."""
        data, peer = self.sock.recvfrom(65535)
        header = (data[0] & 0xF) * 4 if self.family == "v4" else 0
        return peer[0], data[header:]


@contextlib.contextmanager
def ends(site: Site, family: Family) -> Iterator[tuple[End, End]]:
    with End(site.lab.client, family) as client, End(site.lab.servers[0], family) as server:
        yield client, server


def checksum_is_right(packet: bytes) -> bool:
    zeroed = packet[:8] + bytes(4) + packet[12:]
    checksum: int = google_crc32c.value(zeroed)
    return checksum.to_bytes(4, "little") == packet[CHECKSUM]


def test_an_association_is_set_up_through_the_director(site: Site, family: Family) -> None:
    client_address, vip = site.source(family), site.vip(family)
    with ends(site, family) as (client, server):
        init = SCTP(sport=CPORT, dport=VPORT, tag=0) / SCTPChunkInit(init_tag=CLIENT_TAG)
        client.send(init, vip)
        source, data = server.receive()
        got = SCTP(data)
        assert source == client_address
        assert (got.sport, got.dport, got.tag) == (CPORT, RPORT, 0)
        assert got[SCTPChunkInit].init_tag == CLIENT_TAG
        assert checksum_is_right(data)

        ack = SCTP(sport=RPORT, dport=CPORT, tag=CLIENT_TAG)
        server.send(ack / SCTPChunkInitAck(init_tag=SERVER_TAG), source)
        source, data = client.receive()
        got = SCTP(data)
        assert source == vip
        assert (got.sport, got.dport, got.tag) == (VPORT, CPORT, CLIENT_TAG)
        assert got[SCTPChunkInitAck].init_tag == SERVER_TAG
        assert checksum_is_right(data)

    [entry] = [entry for entry in site.connections if entry["client"] == client_address]
    assert (entry["protocol"], entry["state"]) == ("sctp", "C-SENT")  # the cookie


def test_data_passes_unharmed(site: Site, family: Family) -> None:
    message = bytes(range(250))
    with ends(site, family) as (client, server):
        head = SCTP(sport=CPORT + 1, dport=VPORT, tag=0)
        client.send(head / SCTPChunkInit(init_tag=CLIENT_TAG), site.vip(family))
        server.receive()
        head.tag = SERVER_TAG
        cookie = head / SCTPChunkCookieEcho(cookie=b"crumb")
        client.send(cookie, site.vip(family))
        server.receive()

        client.send(head / SCTPChunkData(data=message, beginning=1, ending=1), site.vip(family))
        data = server.receive()[1]

    assert bytes(SCTP(data)[SCTPChunkData].data) == message
    assert SCTP(data).tag == SERVER_TAG
    assert checksum_is_right(data)


def test_sctp_sockets_talk_through_the_director(site: Site, family: Family) -> None:
    try:
        listener = opened(site.lab.servers[0], family, SOCK_STREAM, SCTP_NUMBER)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        pytest.skip("this kernel has no SCTP sockets: `modprobe sctp`, CONFIG_IP_SCTP")
    client = opened(site.lab.client, family, SOCK_STREAM, SCTP_NUMBER)
    with listener, client:
        listener.bind((of(site.lab.servers[0].addresses, family), RPORT))
        listener.listen()
        client.connect((site.vip(family), VPORT))
        accepted, peer = listener.accept()
        with accepted:
            client.sendall(b"up" * 5000)
            accepted.sendall(b"down")
            up = accepted.recv(10000, socket.MSG_WAITALL)
            down = client.recv(4)

    assert peer[0] == site.source(family)
    assert (up, down) == (b"up" * 5000, b"down")
