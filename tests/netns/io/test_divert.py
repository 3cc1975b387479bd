"""What is diverted, what is not, and what stays of it: real packets, real rulesets."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.core.verdict import Hook
from lvsd.errors import KernelError
from lvsd.io import nf_tables
from lvsd.io.divert import Divert, Diverted
from lvsd.packet.address import pack
from tests.netns.io.hosts import (
    CLIENT4,
    CLIENT6,
    SCTP,
    SERVER4,
    SERVER6,
    TCP,
    UDP,
    Host,
    Row,
    comparable,
    nft,
    ruleset,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.conftest import Queue

PORT = 5300
OTHER_PORT = 5301
BOTH = [pytest.param(CLIENT4, SERVER4, id="ipv4"), pytest.param(CLIENT6, SERVER6, id="ipv6")]

# The operator's own rules: conntrack is in use, and the filter counts what it sees.
OPERATOR = f"""
table inet operator {{
    counter to_server {{ }}
    counter from_server {{ }}
    chain marking {{
        type filter hook prerouting priority mangle;
        udp dport {OTHER_PORT} meta mark set 7
    }}
    chain forward {{
        type filter hook forward priority filter;
        ct state established,related,new,untracked accept
        drop
    }}
    chain counting {{
        type filter hook forward priority 1;
        ip daddr {SERVER4} counter name to_server
        ip saddr {SERVER4} counter name from_server
    }}
}}
"""


def endpoints(*values: tuple[str, int, int]) -> frozenset[tuple[bytes, int, int]]:
    return frozenset((pack(address), protocol, port) for address, protocol, port in values)


@pytest.fixture
def divert(queue: Queue) -> Iterator[Divert]:
    divert = Divert(queue.number)
    yield divert
    divert.down()


@pytest.mark.parametrize(("client", "server"), BOTH)
def test_requests_are_diverted_before_routing_and_nothing_else_is(
    row: Row, queue: Queue, divert: Divert, client: str, server: str
) -> None:
    divert.up(Diverted(endpoints((server, UDP, PORT))))
    with (
        row.client.udp(client) as sender,
        row.server.udp(server, PORT) as ours,
        row.server.udp(server, OTHER_PORT) as other,
    ):
        sender.sendto(b"not ours", (server, OTHER_PORT))
        assert other.recv(100) == b"not ours"
        assert queue.packets == []
        sender.sendto(b"ours", (server, PORT))
        queue.wait()
        assert ours.recv(100) == b"ours"
    assert queue.hooks == [Hook.PREROUTING]


@pytest.mark.parametrize(("client", "server"), BOTH)
def test_port_0_diverts_every_port(
    row: Row, queue: Queue, divert: Divert, client: str, server: str
) -> None:
    divert.up(Diverted(endpoints((server, UDP, 0))))
    with row.client.udp(client) as sender:
        for port in (1, PORT, 65535):
            sender.sendto(b"x", (server, port))
        queue.wait(3)


def test_sctp_is_diverted_by_its_port(row: Row, queue: Queue, divert: Divert) -> None:
    divert.up(Diverted(endpoints((SERVER4, SCTP, PORT))))
    with row.client.raw(SCTP) as sender:
        sender.sendto(struct.pack("!HHII", 1024, PORT, 0, 0), (SERVER4, 0))
        queue.wait()
    assert queue.packets[0][9] == SCTP


def test_marks_set_by_the_operator_at_mangle_are_seen(
    row: Row, queue: Queue, divert: Divert
) -> None:
    nft(OPERATOR)
    divert.up(Diverted(marks=frozenset({7})))
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, OTHER_PORT):
        sender.sendto(b"x", (SERVER4, OTHER_PORT))
        queue.wait()
    assert queue.marks == [7]


@pytest.mark.parametrize(("client", "server"), BOTH)
@pytest.mark.parametrize("port", [PORT, 0])
def test_replies_of_real_servers_are_diverted_after_routing(
    row: Row, queue: Queue, divert: Divert, client: str, server: str, port: int
) -> None:
    divert.up(Diverted(servers=endpoints((server, UDP, port))))
    with row.server.udp(server, PORT) as sender, row.client.udp(client) as receiver:
        sender.sendto(b"reply", receiver.getsockname()[:2])
        queue.wait()
        assert receiver.recv(100) == b"reply"
    assert queue.hooks == [Hook.FORWARD]


def test_the_operators_filter_sees_the_real_server_in_both_directions(
    row: Row, queue: Queue, divert: Divert
) -> None:
    nft(OPERATOR)
    server = endpoints((SERVER4, UDP, PORT))
    divert.up(Diverted(server, servers=server))
    with row.client.udp(CLIENT4) as client, row.server.udp(SERVER4, PORT) as server_socket:
        client.sendto(b"x", (SERVER4, PORT))
        queue.wait(1)
        server_socket.sendto(server_socket.recv(1), client.getsockname())
        queue.wait(2)
        assert client.recv(100) == b"x"
    counters = {
        entry["counter"]["name"]: entry["counter"]["packets"]
        for entry in ruleset()
        if "counter" in entry
    }
    assert counters == {"to_server": 1, "from_server": 1}


def tracked_ports(sender: socket.socket) -> set[int]:
    """Return the destination ports of the flows from a socket that conntrack knows."""
    table = Path("/proc/net/nf_conntrack").read_text(encoding="ascii")
    return {int(p) for p in re.findall(rf"sport={sender.getsockname()[1]} dport=(\d+) ", table)}


def test_our_flows_have_no_conntrack_entries_while_others_have(
    row: Row, queue: Queue, divert: Divert
) -> None:
    nft(OPERATOR)
    server = endpoints((SERVER4, UDP, PORT), (SERVER6, UDP, PORT))
    divert.up(Diverted(server, servers=server))
    exchanged = 0
    for client_address, server_address in ((CLIENT4, SERVER4), (CLIENT6, SERVER6)):
        with (
            row.client.udp(client_address) as client,
            row.server.udp(server_address, PORT) as real_server,
            row.server.udp(server_address, OTHER_PORT) as other,
        ):
            client.sendto(b"x", (server_address, PORT))
            queue.wait(exchanged + 1)
            real_server.sendto(real_server.recv(1), client.getsockname())
            queue.wait(exchanged + 2)
            assert client.recv(1) == b"x"
            assert tracked_ports(client) == set()
            client.sendto(b"y", (server_address, OTHER_PORT))
            assert other.recv(1) == b"y"
            assert tracked_ports(client) == {OTHER_PORT}
            exchanged += 2


@pytest.mark.parametrize("operator", ["", OPERATOR], ids=["no conntrack", "conntrack"])
@pytest.mark.parametrize(
    ("client", "server", "headers"),
    [
        pytest.param(CLIENT4, SERVER4, 28, id="ipv4"),
        pytest.param(CLIENT6, SERVER6, 48, id="ipv6"),
    ],
)
def test_a_fragmented_datagram_arrives_as_one_packet(
    row: Row, queue: Queue, divert: Divert, operator: str, client: str, server: str, headers: int
) -> None:
    if operator:
        nft(operator)
    divert.up(Diverted(endpoints((server, UDP, PORT))))
    payload = bytes(range(250)) * 12
    with row.client.udp(client) as sender, row.server.udp(server, PORT) as receiver:
        sender.sendto(payload, (server, PORT))
        queue.wait()
        assert receiver.recv(4000) == payload
    assert [len(packet) for packet in queue.packets] == [3000 + headers]


def test_reassembly_does_not_switch_conntrack_on(row: Row, queue: Queue, divert: Divert) -> None:
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, OTHER_PORT) as receiver:
        sender.sendto(b"x", (SERVER4, OTHER_PORT))
        assert receiver.recv(1) == b"x"
        assert tracked_ports(sender) == set()
    assert queue.packets == []


def send_unreachable(host: Host, to: str) -> None:
    """Send a port unreachable with a packet of somebody's inside."""
    with host.raw(socket.IPPROTO_ICMP) as sender:
        sender.sendto(struct.pack("!BBHI", 3, 3, 0, 0) + bytes(28), (to, 0))


def test_icmp_errors_to_a_virtual_address_are_diverted(
    row: Row, queue: Queue, divert: Divert
) -> None:
    row.director.ip("address add 198.51.100.1/32 dev lo")
    divert.up(Diverted(endpoints(("198.51.100.1", TCP, 80))))
    send_unreachable(row.client, "192.0.2.1")
    send_unreachable(row.client, "198.51.100.1")
    queue.wait()
    row.director.ip("address delete 198.51.100.1/32 dev lo")
    assert [packet[16:20] for packet in queue.packets] == [pack("198.51.100.1")]


def test_forwarded_icmp_errors_are_diverted_only_while_there_are_servers(
    row: Row, queue: Queue, divert: Divert
) -> None:
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    send_unreachable(row.server, CLIENT4)
    divert.update(Diverted(servers=endpoints((SERVER4, UDP, PORT))))
    send_unreachable(row.server, CLIENT4)
    queue.wait()
    assert queue.hooks == [Hook.FORWARD]


def test_down_leaves_the_ruleset_as_up_found_it(row: Row, divert: Divert) -> None:
    del row
    nft(OPERATOR)
    before = ruleset()
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT)), frozenset({7})))
    assert [entry for entry in ruleset() if "lvsd" not in str(entry)] == before
    divert.down()
    assert ruleset() == before


def test_what_is_prepared_takes_no_packet_and_goes_down_again(row: Row, divert: Divert) -> None:
    divert.prepare()
    divert.prepare()
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        sender.sendto(b"undisturbed", (SERVER4, PORT))
        assert receiver.recv(100) == b"undisturbed"
    with pytest.raises(KernelError, match="there already"):
        Divert(8).prepare()
    divert.down()
    assert ruleset() == []


def test_what_is_prepared_goes_up_without_nft(
    row: Row, queue: Queue, divert: Divert, monkeypatch: pytest.MonkeyPatch
) -> None:
    divert.prepare()
    with monkeypatch.context() as patched:
        patched.setattr("lvsd.io.nft._nft", None)
        divert.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    with row.client.udp(CLIENT4) as sender:
        sender.sendto(b"x", (SERVER4, PORT))
        queue.wait()


def test_update_changes_nothing_but_the_elements_of_sets(row: Row, divert: Divert) -> None:
    del row
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT), (SERVER6, TCP, 80))))
    before = {str(entry) for entry in ruleset()}
    divert.update(Diverted(endpoints((SERVER4, UDP, OTHER_PORT), (SERVER6, TCP, 80))))
    after = {str(entry) for entry in ruleset()}
    assert {entry[:30] for entry in before ^ after} == {"{'set': {'family': 'inet', 'na"}
    assert len(after - before) == len(divert.names)


FIRST, SECOND = (endpoints((SERVER4, UDP, each), (SERVER6, TCP, each)) for each in (53, 80))


def test_what_is_added_is_what_an_update_to_all_of_it_makes(row: Row, divert: Divert) -> None:
    del row
    both_marked = Diverted(endpoints=FIRST | SECOND, marks=frozenset({7}))
    divert.up(both_marked)
    whole = comparable(ruleset())
    divert.update(Diverted(endpoints=FIRST))
    divert.add(Diverted(endpoints=FIRST | SECOND))
    divert.add(Diverted(marks=frozenset({7})))
    assert comparable(ruleset()) == whole
    divert.update(Diverted(endpoints=FIRST))
    divert.update(both_marked)
    assert comparable(ruleset()) == whole


@pytest.mark.parametrize("change", ["update", "add"])
def test_what_was_refused_is_done_by_the_next_try(
    row: Row, divert: Divert, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    del row

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    divert.up(Diverted(endpoints=FIRST | SECOND))
    whole = comparable(ruleset())
    divert.update(Diverted(endpoints=FIRST))
    attempt = partial(getattr(divert, change), Diverted(endpoints=FIRST | SECOND))
    with monkeypatch.context() as patch:
        patch.setattr(nf_tables, "transact", refuse)
        with pytest.raises(KernelError):
            attempt()
    attempt()
    assert comparable(ruleset()) == whole


def test_update_puts_a_table_up_again_when_somebody_flushed_it(
    row: Row, queue: Queue, divert: Divert
) -> None:
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    before = ruleset()
    nft("flush ruleset")
    assert ruleset() != before
    divert.update(Diverted(endpoints((SERVER4, UDP, OTHER_PORT))))
    divert.update(Diverted(endpoints((SERVER4, UDP, PORT))))
    assert comparable(ruleset()) == comparable(before)
    with row.client.udp(CLIENT4) as sender:
        sender.sendto(b"x", (SERVER4, PORT))
        queue.wait()


@pytest.mark.parametrize("on_crash", ["drop", "bypass"])
def test_without_a_reader_packets_go_as_on_crash_says(row: Row, on_crash: str) -> None:
    divert = Divert(8, on_crash="drop" if on_crash == "drop" else "bypass")
    divert.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    received = []
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        sender.sendto(b"while diverted", (SERVER4, PORT))
        divert.down()
        sender.sendto(b"afterwards", (SERVER4, PORT))
        while b"afterwards" not in received:
            received.append(receiver.recv(100))
    assert (b"while diverted" in received) is (on_crash == "bypass")


def test_a_table_that_is_there_already_is_refused_with_the_remedy(row: Row, divert: Divert) -> None:
    del row
    divert.up(Diverted())
    before = ruleset()
    with pytest.raises(KernelError, match=r"there already.*lvsd cleanup"):
        Divert(8).up(Diverted())
    assert ruleset() == before


def test_a_table_of_somebody_else_is_refused_and_stays(row: Row) -> None:
    del row
    nft("add table inet lvsd { chain theirs { }; }")
    before = ruleset()
    with pytest.raises(KernelError, match="there already"):
        Divert(8).up(Diverted())
    assert ruleset() == before


def test_without_the_program_nft_the_error_names_its_package_and_nothing_stays(
    row: Row, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del row
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(KernelError, match="package nftables"):
            Divert(8).up(Diverted())
    assert ruleset() == []


def test_an_nft_that_hangs_is_ended_and_nothing_stays(
    row: Row, divert: Divert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del row
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        patched.setattr("lvsd.io.compiling._START_S", 0.1)
        with pytest.raises(KernelError, match=r"inet lvsd: nft has not ended within 0\.1 s"):
            divert.up(Diverted())
    assert ruleset() == []


def test_a_daemon_that_runs_does_without_nft(
    row: Row, divert: Divert, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del row
    divert.up(Diverted())
    nft("flush ruleset")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        divert.update(Diverted(marks=frozenset({7})))
        divert.mend()
    assert [entry["set"]["elem"] for entry in ruleset() if "marks" in str(entry.get("set"))] == (
        [[7]] * len(divert.names)
    )
