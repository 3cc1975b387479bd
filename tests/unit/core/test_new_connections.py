"""What opens a connection, what takes an old one's place, and what keeps no entry at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forwarders import Dr
from lvsd.core.service import RealServer
from lvsd.core.verdict import Hook, Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import FirstAdded, Segment, World, counts, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_a_connection_is_rewritten_both_ways_as_scapy_would_send_it(
    version: int, protocol: str
) -> None:
    world = World(version)
    world.serve(protocol)
    request = replace(world.from_client(protocol=protocol), payload=b"who is there?")
    assert world.handle(request) == raw(world.to_server(request))
    reply = replace(request.reversed, payload=b"the server")
    back = replace(reply, source=world.rip(), source_port=8080)
    assert world.reply(back) == raw(reply)


def test_padding_behind_the_packet_is_cut_and_not_counted(version: int) -> None:
    world = World(version)
    service = world.serve()
    syn = world.from_client()
    assert world.handle(raw(syn) + bytes(6)) == raw(world.to_server(syn))
    assert service.meter.totals.in_bytes == len(raw(syn))


def test_a_syn_in_the_forward_hook_opens_nothing(version: int) -> None:
    world = World(version)
    world.serve()
    assert world.handle(world.from_client(), hook=Hook.FORWARD) is Verdict.PASS
    assert world.states() == []


@pytest.mark.parametrize("what", ["A", "PA", "FA", "SA", ""])
def test_with_sloppy_tcp_any_packet_but_a_rst_opens(version: int, what: str) -> None:
    world = World(version)
    world.settings.sloppy_tcp = True
    world.serve()
    request = world.from_client(what)
    assert world.handle(request) == raw(world.to_server(request))


@pytest.mark.parametrize("what", ["R", "RA", "SR"])
def test_with_sloppy_tcp_a_rst_opens_nothing(version: int, what: str) -> None:
    world = World(version)
    world.settings.sloppy_tcp = True
    world.serve()
    assert world.handle(world.from_client(what)) is Verdict.PASS


def test_a_connection_opened_in_the_middle_is_established(version: int) -> None:
    world = World(version)
    world.settings.sloppy_tcp = True
    service = world.serve()
    world.handle(world.from_client("A"))
    assert world.states() == ["ESTABLISHED"]
    assert counts(service.servers[0]) == (1, 0)


@pytest.mark.parametrize(
    ("chunk", "state"), [("DATA", "ESTABLISHED"), ("COOKIE_ECHO", "C-REPLIED"), ("INIT", "INIT1")]
)
def test_with_sloppy_sctp_any_chunk_but_an_abort_opens(
    version: int, chunk: str, state: str
) -> None:
    world = World(version)
    world.settings.sloppy_sctp = True
    world.serve("sctp")
    world.handle(world.from_client(chunk, protocol="sctp"))
    assert world.states() == [state]


@pytest.mark.parametrize("chunk", ["ABORT", "ABORT+DATA", ""])
def test_with_sloppy_sctp_an_abort_or_no_chunk_opens_nothing(version: int, chunk: str) -> None:
    world = World(version)
    world.settings.sloppy_sctp = True
    world.serve("sctp")
    assert world.handle(world.from_client(chunk, protocol="sctp")) is Verdict.PASS


def test_with_sloppy_sctp_a_cookie_opens_what_the_abort_behind_it_closes(version: int) -> None:
    world = World(version)
    world.settings.sloppy_sctp = True
    world.serve("sctp")
    world.handle(world.from_client("COOKIE_ECHO+ABORT", protocol="sctp"))
    assert world.states() == ["CLOSED"]


def _closed(world: World) -> Segment:
    """Return the SYN of a client whose connection to server 1 is in TIME_WAIT."""
    ack = world.establish()
    world.handle(replace(ack, what="FA"))
    world.answer(ack, "FA")
    assert world.states() == ["TIME_WAIT"]
    return replace(ack, what="S")


def _two_servers(world: World) -> FirstAdded:
    """Add a service whose second server is to be picked next."""
    scheduler = FirstAdded()
    world.serve(servers=2, scheduler=scheduler)
    return scheduler


@pytest.mark.parametrize(("mode", "server"), [(0, 1), (1, 2), (2, 2), (3, 2)])
def test_conn_reuse_mode_decides_who_gets_a_syn_in_time_wait(
    version: int, mode: int, server: int
) -> None:
    world = World(version)
    world.settings.conn_reuse_mode = mode
    scheduler = _two_servers(world)
    syn = _closed(world)
    scheduler.servers.reverse()
    assert world.chosen(syn) == world.rip(server)
    assert world.states() == ["SYN_RECV"]


def test_a_connection_scheduled_anew_leaves_its_old_servers_counts(version: int) -> None:
    world = World(version)
    scheduler = _two_servers(world)
    syn = _closed(world)
    scheduler.servers.reverse()
    world.handle(syn)
    second, first = scheduler.servers
    assert isinstance(first, RealServer)
    assert isinstance(second, RealServer)
    assert (counts(first), counts(second)) == ((0, 0), (1, 0))
    assert world.balancer.flows.table.count == 1
    world.wait(121)
    assert (counts(first), counts(second)) == ((0, 0), (0, 0))
    assert world.balancer.flows.table.by_key == {}


@pytest.mark.parametrize("mode", [1, 3])
def test_a_syn_in_fin_wait_moves_the_connection_whose_replies_are_seen(
    version: int, mode: int
) -> None:
    world = World(version)
    world.settings.conn_reuse_mode = mode
    scheduler = _two_servers(world)
    ack = world.establish()
    world.answer(ack, "FA")
    scheduler.servers.reverse()
    assert world.chosen(replace(ack, what="S")) == world.rip(1)
    assert world.states() == ["SYN_RECV"]


@pytest.mark.parametrize(("mode", "server"), [(1, 1), (2, 2), (3, 2)])
def test_a_syn_in_fin_wait_is_scheduled_anew_by_mode_2_where_replies_bypass(
    version: int, mode: int, server: int
) -> None:
    world = World(version)
    world.settings.conn_reuse_mode = mode
    scheduler = FirstAdded()
    world.serve(servers=2, scheduler=scheduler, forwarder=Dr())
    syn = world.from_client()
    for what in ("S", "A", "FA"):
        world.leave(replace(syn, what=what))
    assert world.states() == ["FIN_WAIT"]
    scheduler.servers.reverse()
    world.handle(syn)
    (departure,) = world.sent()
    assert departure.neighbour == pack(world.rip(server))


def test_a_connection_under_a_template_is_never_scheduled_anew_for_its_state(version: int) -> None:
    world = World(version)
    world.serve(persistence_s=300)
    syn = _closed(world)
    world.handle(syn)
    assert world.states() == ["SYN_RECV"]
    (service,) = world.balancer.services
    assert service.meter.totals.connections == 1


@pytest.mark.parametrize("kind", ["tcp", "sctp"])
def test_one_packet_scheduling_is_for_udp_only(version: int, kind: str) -> None:
    world = World(version)
    world.serve(kind, one_packet=True)
    world.handle(world.from_client(protocol=kind))
    assert world.balancer.flows.table.count == 1


def test_one_packet_scheduling_keeps_no_entry(version: int) -> None:
    world = World(version)
    service = world.serve("udp", one_packet=True, servers=3)
    request = world.from_client(protocol="udp")
    assert [world.chosen(request) for _ in range(4)] == [world.rip(n) for n in (3, 2, 1, 3)]
    assert world.balancer.counters() == {
        "connections": 0,
        "templates": 0,
        "passed": 0,
        "dropped": 0,
    }
    assert [counts(server) for server in service.servers] == [(0, 0)] * 3
    assert service.meter.totals.connections == 4


def test_replies_under_one_packet_scheduling_pass_as_they_are(version: int) -> None:
    world = World(version)
    world.serve("udp", one_packet=True)
    request = world.from_client(protocol="udp")
    world.handle(request)
    assert world.reply(world.to_server(request).reversed) is Verdict.PASS


def test_one_packet_scheduling_under_persistence_keeps_the_template_only(version: int) -> None:
    world = World(version)
    service = world.serve("udp", one_packet=True, persistence_s=300, servers=3)
    request = world.from_client(protocol="udp")
    assert len({world.chosen(request) for _ in range(4)}) == 1
    assert world.balancer.counters()["templates"] == 1
    (template,) = world.balancer.flows.table.templates.values()
    assert template.controlled == 0
    assert [server.total for server in service.servers] == [0, 0, 0]


def test_a_server_at_its_upper_threshold_gets_no_more_until_it_is_below_the_lower(
    version: int,
) -> None:
    world = World(version)
    service = world.serve("udp", scheduler=FirstAdded())
    (server,) = service.servers
    world.edit_server(server, upper=4, lower=2)
    for cport in range(1, 5):
        world.handle(world.from_client(protocol="udp", cport=cport))
        world.wait(10)
    last = world.from_client(protocol="udp", cport=99)
    seen = []
    for _ in range(5):
        seen.append((server.total, server.overloaded, world.handle(last) is Verdict.DROP))
        world.wait(10 if server.total < 4 else 262)
    assert seen[:3] == [(4, True, True), (3, True, True), (2, True, True)]
    assert seen[3:] == [(1, False, False), (1, False, False)]


def test_an_overloaded_server_still_gets_the_packets_of_its_connections(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.edit_server(service.servers[0], upper=1)
    ack = world.establish()
    assert service.servers[0].overloaded
    assert world.handle(ack) == raw(world.to_server(ack))


def test_paths_without_connections_are_forgotten_when_there_are_many(version: int) -> None:
    world = World(version)
    (server,) = world.serve(fwmark=7, rport=8080).servers
    for vport in range(1, 501):
        world.handle(world.from_client(protocol="udp", vport=vport), mark=7)
    assert len(server.paths) == 500
    world.wait(301)
    assert len(server.paths) == 64
    assert {path.users for path in server.paths.values()} == {0}


def test_connections_between_the_same_ends_share_a_path(version: int) -> None:
    world = World(version)
    world.serve()
    world.establish(cport=1)
    world.establish(cport=2)
    one, other = world.balancer.flows.table
    assert one.path is other.path
    assert one.path.users == 2
