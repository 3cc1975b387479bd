"""What comes back from real servers of every way, and what we send: taken where it should be."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from lvsd.core.verdict import Hook
from lvsd.io.divert import Divert, Diverted
from lvsd.io.ruleset import SENT_MARK
from lvsd.packet.address import pack
from tests.netns.io.hosts import CLIENT4, CLIENT6, SERVER4, SERVER6, UDP, nft, ruleset
from tests.netns.io.test_divert import endpoints, tracked_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.netns.io.conftest import Queue
    from tests.netns.io.hosts import Host, Row

PORT, OTHER_PORT, CLIENT_PORT = 5300, 5301, 5400
ESP, AH = 50, 51
LIP4, LIP6 = "10.0.0.1", "2001:db8:2::1"
"""Addresses of the director towards the server."""
OTHER4, OTHER6 = "192.0.2.1", "2001:db8:1::1"
"""Addresses of the director that lvsd has nothing to do with."""


class Ends(NamedTuple):
    """The addresses of one family: the client's, the server's, and the director's two."""

    client: str
    server: str
    lip: str
    other: str


ENDS = {
    "ipv4": Ends(CLIENT4, SERVER4, LIP4, OTHER4),
    "ipv6": Ends(CLIENT6, SERVER6, LIP6, OTHER6),
}
ERRORS = {4: (socket.IPPROTO_ICMP, 3), 16: (socket.IPPROTO_ICMPV6, 1)}
"""Length of an address -> protocol and type of "destination unreachable"."""

# Conntrack is in use, and the operator's filter counts what passes it.
OPERATOR = f"""
table inet operator {{
    counter related {{ }}
    counter marked {{ }}
    counter untracked {{ }}
    counter out {{ }}
    chain input {{
        type filter hook input priority filter;
        ct state related counter name related
    }}
    chain raw {{
        type filter hook output priority raw;
        meta mark != 0 counter name marked
    }}
    chain output {{
        type filter hook output priority filter;
        udp sport {PORT} counter name out
        udp sport {PORT} ct state untracked counter name untracked
    }}
}}
"""


@pytest.fixture(params=ENDS)
def ends(request: pytest.FixtureRequest) -> Ends:
    """Run the test for both families."""
    return ENDS[request.param]


@pytest.fixture
def divert(queue: Queue) -> Iterator[Divert]:
    divert = Divert(queue.number)
    yield divert
    divert.down()


def addresses(*values: str) -> frozenset[bytes]:
    return frozenset(map(pack, values))


def counters() -> dict[str, int]:
    """Return the operator's counters."""
    found: dict[str, Any] = {}
    for entry in ruleset():
        if "counter" in entry:
            found[entry["counter"]["name"]] = entry["counter"]["packets"]
    return found


def is_tracked(sender: socket.socket, receiver: socket.socket) -> bool:
    """Return whether conntrack knows the flow."""
    return receiver.getsockname()[1] in tracked_ports(sender)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if len(pack(address)) == 4 else socket.AF_INET6


def send_raw(host: Host, protocol: int, message: bytes, to: str) -> None:
    with host.raw(protocol, family(to)) as sender:
        sender.sendto(message, (to, 0))


def send_unreachable(host: Host, to: str) -> None:
    """Send an ICMP error with a packet of somebody's inside."""
    protocol, kind = ERRORS[len(pack(to))]
    send_raw(host, protocol, struct.pack("!BBHI", kind, 3, 0, 0) + bytes(48), to)


@pytest.mark.parametrize("port", [PORT, 0])
def test_replies_to_a_local_address_are_taken_before_routing_and_others_are_not(
    row: Row, queue: Queue, divert: Divert, ends: Ends, port: int
) -> None:
    divert.up(
        Diverted(
            fullnat_servers=endpoints((ends.server, UDP, port)), local_addresses=addresses(ends.lip)
        )
    )
    with (
        row.server.udp(ends.server, PORT) as real_server,
        row.director.udp(ends.other) as elsewhere,
        row.client.udp(ends.client) as forwarded,
        row.director.udp(ends.lip) as local,
    ):
        for receiver in (elsewhere, forwarded):
            real_server.sendto(b"not ours", receiver.getsockname()[:2])
            assert receiver.recv(100) == b"not ours"
        assert queue.packets == []
        real_server.sendto(b"reply", local.getsockname()[:2])
        queue.wait()
        assert local.recv(100) == b"reply"
    assert queue.hooks == [Hook.PREROUTING]


def test_what_is_no_real_server_reaches_a_local_address_undiverted(
    row: Row, queue: Queue, divert: Divert, ends: Ends
) -> None:
    divert.up(
        Diverted(
            fullnat_servers=endpoints((ends.server, UDP, PORT)), local_addresses=addresses(ends.lip)
        )
    )
    with (
        row.server.udp(ends.server, OTHER_PORT) as other_port,
        row.client.udp(ends.client, PORT) as other_host,
        row.director.udp(ends.lip) as local,
    ):
        for sender in (other_port, other_host):
            sender.sendto(b"x", local.getsockname()[:2])
            assert local.recv(100) == b"x"
    assert queue.packets == []


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(lambda own: Diverted(local_addresses=own), id="local addresses"),
        pytest.param(lambda own: Diverted(tunnel_ends=own), id="tunnel ends"),
    ],
)
def test_icmp_errors_to_local_addresses_and_tunnel_ends_are_taken(
    row: Row, queue: Queue, divert: Divert, ends: Ends, of: Callable[[frozenset[bytes]], Diverted]
) -> None:
    divert.up(of(addresses(ends.lip)))
    send_unreachable(row.server, ends.other)
    send_unreachable(row.server, ends.lip)
    queue.wait()
    destination = slice(16, 20) if "." in ends.lip else slice(24, 40)
    assert [packet[destination] for packet in queue.packets] == [pack(ends.lip)]
    assert queue.hooks == [Hook.PREROUTING]


def test_an_icmp_error_about_the_hosts_own_flow_stays_related_to_it(
    row: Row, queue: Queue, divert: Divert, ends: Ends
) -> None:
    nft(OPERATOR)
    divert.up(Diverted(tunnel_ends=addresses(ends.lip)))
    with row.director.udp(ends.lip) as sender:
        sender.connect((ends.server, PORT))
        sender.send(b"nobody listens")
        queue.wait()
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)
    assert counters()["related"] == 1


@pytest.mark.parametrize("port", [PORT, 0])
def test_replies_of_a_real_server_on_the_director_are_taken_after_the_operators_filter(
    row: Row, queue: Queue, divert: Divert, ends: Ends, port: int
) -> None:
    nft(OPERATOR)
    divert.up(Diverted(own_servers=endpoints((ends.lip, UDP, port))))
    with (
        row.director.udp(ends.lip, PORT) as own_server,
        row.director.udp(ends.other, PORT) as other_address,
        row.client.udp(ends.client) as bystander,
        row.client.udp(ends.client) as receiver,
    ):
        other_address.sendto(b"not ours", bystander.getsockname()[:2])
        assert bystander.recv(100) == b"not ours"
        assert queue.packets == []
        own_server.sendto(b"reply", receiver.getsockname()[:2])
        queue.wait()
        assert receiver.recv(100) == b"reply"
        assert is_tracked(other_address, bystander)
        assert not is_tracked(own_server, receiver)
    assert queue.hooks == [Hook.OUTPUT]
    assert (counters()["out"], counters()["untracked"]) == (2, 1)


def test_an_icmp_error_of_a_real_server_on_the_director_is_taken(
    row: Row, queue: Queue, divert: Divert, ends: Ends
) -> None:
    divert.up(Diverted(own_servers=endpoints((ends.lip, UDP, PORT))))
    with row.client.udp(ends.client) as sender:
        for refusing in (ends.other, ends.lip):
            sender.connect((refusing, PORT))
            sender.send(b"nobody listens")
            if refusing == ends.lip:
                queue.wait()
            with pytest.raises(ConnectionRefusedError):
                sender.recv(1)
    assert queue.hooks == [Hook.OUTPUT]


@pytest.mark.parametrize("port", [PORT, 0])
def test_replies_of_a_service_that_the_host_itself_serves_are_neither_tracked_nor_taken(
    row: Row, queue: Queue, divert: Divert, ends: Ends, port: int
) -> None:
    nft(OPERATOR)
    divert.up(Diverted(endpoints((ends.other, UDP, port))))
    with row.director.udp(ends.other, PORT) as program, row.client.udp(ends.client) as receiver:
        program.sendto(b"reply", receiver.getsockname()[:2])
        assert receiver.recv(100) == b"reply"
        assert not is_tracked(program, receiver)
    assert queue.packets == []


@pytest.mark.parametrize("mark", [SENT_MARK, 0])
def test_what_our_sockets_send_has_no_mark_afterwards_and_no_conntrack_entry(
    row: Row, divert: Divert, ends: Ends, mark: int
) -> None:
    nft(OPERATOR)
    divert.up(Diverted())
    with row.director.udp(ends.other, PORT) as ours, row.client.udp(ends.client) as receiver:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        ours.sendto(b"x", receiver.getsockname()[:2])
        assert receiver.recv(100) == b"x"
        assert is_tracked(ours, receiver) is (mark == 0)
    seen = counters()
    assert (seen["marked"], seen["out"], seen["untracked"]) == (0, 1, int(bool(mark)))


def test_another_mark_of_a_local_program_is_left_alone(row: Row, divert: Divert) -> None:
    nft(OPERATOR)
    divert.up(Diverted())
    with row.director.udp(OTHER4, PORT) as theirs, row.client.udp(CLIENT4) as receiver:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SENT_MARK + 1)
        theirs.sendto(b"x", receiver.getsockname())
        assert receiver.recv(100) == b"x"
    assert counters()["marked"] == 1


@pytest.mark.parametrize("protocol", [ESP, AH])
def test_ipsec_to_a_vip_is_taken_before_routing_and_a_servers_in_forward(
    row: Row, queue: Queue, divert: Divert, ends: Ends, protocol: int
) -> None:
    # An AH without authentication data in front of nothing (RFC 4302 section 2); as ESP, any SPI.
    message = struct.pack("!BBHII", 59, 1, 0, 0x1234, 1)
    divert.up(Diverted(ipsec=addresses(ends.server)))
    # A raw socket takes the packet in, so that no ICMP error comes back.
    with (
        row.server.raw(protocol, family(ends.server)),
        row.client.raw(protocol, family(ends.client)),
    ):
        send_raw(row.client, protocol, message, ends.other)
        send_raw(row.client, socket.IPPROTO_UDP, struct.pack("!HHHH", 9, 9, 8, 0), ends.server)
        send_raw(row.client, protocol, message, ends.server)
        queue.wait()
        divert.update(Diverted(ipsec_servers=addresses(ends.server)))
        send_raw(row.client, protocol, message, ends.server)
        send_raw(row.server, protocol, message, ends.client)
        queue.wait(2)
    assert queue.hooks == [Hook.PREROUTING, Hook.FORWARD]
    where = 9 if "." in ends.server else 6
    assert [packet[where] for packet in queue.packets] == [protocol, protocol]
