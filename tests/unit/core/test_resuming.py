"""A director goes on where one before it was, with what that has written down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core import snapshot
from lvsd.core.commands import Drain, EditServer, SetHealth, Undrain
from lvsd.core.gathering import GONE, HALF, NO_ROOM, OTHERWISE
from lvsd.core.keeper import Keeper
from lvsd.core.local_pool import LocalPool
from lvsd.core.snapshot import Kind
from lvsd.core.values import Health
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from lvsd.packet.build import ip_packet, tcp_segment
from lvsd.packet.numbers import TcpFlag
from lvsd.packet.view import Packet
from tests.unit.core.kept import Slots, keep, resume, write_the_rest
from tests.unit.core.world import World, raw

if TYPE_CHECKING:
    from lvsd.core.service import Service

pytestmark = pytest.mark.parametrize("version", [4, 6])

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
OTHER_LIP = {4: "10.0.0.201", 6: "fd00::c9"}
WAYS: dict[str, Any] = {
    "nat": Nat(),
    "dr": Dr(),
    "tun": Tun(),
    "fullnat": Fullnat("none"),
    "toa": Fullnat("toa"),
    "proxy": Fullnat("proxy-v2"),
}


def serve(world: World, way: str = "nat", *, lip: str = "", **options: Any) -> Service:
    """Have a service of that way."""
    own = pack(lip or LIP[world.version])
    world.balancer.network.local_addresses = frozenset({own})
    if WAYS[way].per_connection:
        options["local"] = LocalPool((own,), 5000, 6999)
    return world.serve(forwarder=WAYS[way], **options)


def two_worlds(version: int, way: str = "nat", **options: Any) -> tuple[World, World, Slots]:
    """Return a world that is written down, one to come after it, and where it is written."""
    slots, worlds = Slots(), (World(version), World(version))
    for world in worlds:
        serve(world, way, **options)
    keep(worlds[0], slots)
    return *worlds, slots


def speak(world: World, segment: Any) -> list[bytes]:
    """Return all that comes of a packet, in order."""
    outcome = world.handle(segment)
    sent = [each.data for each in world.sent()]
    return [outcome, *sent] if isinstance(outcome, bytes) else sent


def answer_of(got: bytes, flags: int, seq: int, acked: int = 0, payload: bytes = b"") -> bytes:
    """Return what a real server says to the sender of a packet that it got."""
    packet = Packet()
    packet.load(got)
    number = int.from_bytes(packet.data[packet.l4 + 4 : packet.l4 + 8], "big")
    server = packet.destination, packet.destination_port
    local = packet.source, packet.source_port
    segment = tcp_segment(server, local, flags, seq, number + acked & 0xFFFFFFFF) + payload
    return ip_packet(server[0], local[0], 6, segment)


@pytest.mark.parametrize("way", WAYS)
def test_an_established_connection_goes_on_to_the_byte(version: int, way: str) -> None:
    first, second, slots = two_worlds(version, way)
    if WAYS[way].per_connection:
        ack = first.shake_hands(first.from_client())
    else:
        for ack in (first.from_client(), first.from_client("A")):
            speak(first, ack)
    resumption, _ = resume(second, slots)
    assert (resumption.connections, dict(resumption.dropped)) == (1, {})
    assert second.states() == ["ESTABLISHED"] == first.states()
    data = replace(ack, what="PA", payload=b"more")
    expected = speak(first, data)
    assert expected
    assert speak(second, data) == expected
    if not WAYS[way].bypasses and WAYS[way].per_connection:
        reply = answer_of(expected[-1], TcpFlag.ACK, 2000, 4, b"answer")
        assert speak(second, reply) == speak(first, reply) != []


@pytest.mark.parametrize("way", ["fullnat", "toa", "proxy"])
def test_a_handshake_of_which_the_client_has_its_answer_goes_on(version: int, way: str) -> None:
    first, second, slots = two_worlds(version, way)
    syn = first.from_client()
    got = first.leave(syn)
    answer = answer_of(got, TcpFlag.SYN | TcpFlag.ACK, 1999, 1)
    assert len(speak(first, answer)) == 1
    resumption, _ = resume(second, slots)
    assert (resumption.connections, second.states()) == (1, ["SYN_RECV"])
    for what in ("A", "PA"):
        segment = replace(syn, what=what, payload=b"GET" if what == "PA" else b"")
        assert speak(second, segment) == speak(first, segment) != []


def test_what_goes_on_has_its_states_whole_timeout(version: int) -> None:
    first, second, slots = two_worlds(version)
    first.establish()
    second.now = first.now + 500
    resume(second, slots)
    (row,) = second.balancer.connections()
    assert row.expires == second.now + 900


def test_what_ended_is_not_there_any_more_and_its_slot_is_free(version: int) -> None:
    first, second, slots = two_worlds(version)
    room = len(slots.free)
    ack = first.establish()
    first.handle(replace(ack, what="RA"))
    first.wait(11)
    assert first.states() == []
    resumption, _ = resume(second, slots)
    assert (resumption.connections, second.states()) == (0, [])
    assert len(slots.free) == room - 1  # the server's


def test_the_second_writes_on_for_a_third(version: int) -> None:
    first, second, slots = two_worlds(version)
    ack = first.establish()
    resume(second, slots)
    second.handle(replace(ack, what="FA"))
    second.establish(client=2)
    third = World(version)
    serve(third)
    assert resume(third, slots)[0].connections == 2
    assert sorted(third.states()) == ["CLOSE_WAIT", "ESTABLISHED"]


@pytest.mark.parametrize("protocol", ["udp", "sctp"])
def test_other_protocols_go_on_too(version: int, protocol: str) -> None:
    first, second, slots = two_worlds(version, protocol=protocol)
    first.handle(first.from_client(protocol=protocol))
    resumption, _ = resume(second, slots)
    assert resumption.connections == 1
    assert second.states() == first.states()


def test_a_datagram_that_is_scheduled_by_itself_is_never_written(version: int) -> None:
    first, _, slots = two_worlds(version, protocol="udp", one_packet=True)
    first.handle(first.from_client(protocol="udp"))
    assert Kind.CONNECTION not in slots.records()


def test_counts_go_on_and_their_zero_point_with_them(version: int) -> None:
    first, second, slots = two_worlds(version)
    keeper = keep(first, Slots())
    first.balancer.flows.observers.remove(keeper)
    keeper = first.balancer.flows.observers.present[0]  # type: ignore[assignment]
    first.establish()
    for service in first.balancer.services:
        service.meter.zero()
    first.establish(client=2)
    write_the_rest(keeper)
    resume(second, slots)
    for one, other in zip(first.balancer.services, second.balancer.services, strict=True):
        assert one.meter.totals == other.meter.totals != one.meter.raw == other.meter.raw
        assert one.servers[0].meter.totals == other.servers[0].meter.totals
        assert one.servers[0].active == other.servers[0].active == 2
        assert other.meter.rates == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sed", "nq", "sh"])
def test_picks_go_on_as_if_nothing_had_happened(version: int, scheduler: str) -> None:
    first, second, slots = two_worlds(version, scheduler=scheduler, servers=3)
    for world in (first, second):
        for service in world.balancer.services:
            world.edit_server(service.servers[1], weight=3)
    (keeper,) = first.balancer.flows.observers.present
    for client in range(1, 6):
        first.establish(client=client)
    write_the_rest(keeper)  # type: ignore[arg-type]
    resume(second, slots)
    for client in range(6, 20):
        syn = first.from_client(client=client)
        assert second.chosen(syn) == first.chosen(syn)


def test_a_turn_begins_anew_among_other_servers(version: int) -> None:
    first, second, slots = two_worlds(version, servers=3)
    (keeper,) = first.balancer.flows.observers.present
    first.establish()
    write_the_rest(keeper)  # type: ignore[arg-type]
    (service,) = second.balancer.services
    second.add_server(service, 4)
    resume(second, slots)
    assert second.chosen(second.from_client(client=2)) == second.rip(4)


def test_a_client_keeps_its_server_and_its_template_lives_with_its_connections(
    version: int,
) -> None:
    first, second, slots = two_worlds(version, servers=2, persistence_s=300)
    first.establish()
    syn = first.from_client(cport=41000)
    expected = first.chosen(syn)
    second.chosen(second.from_client(client=9))  # else the turn would give it the same one
    resumption, _ = resume(second, slots)
    assert (resumption.connections, resumption.templates) == (2, 1)
    (template,) = (each for each in second.balancer.flows.table.templates.values() if each.kept)
    assert (template.controlled, template.assured) == (2, True)
    assert second.chosen(replace(syn, source_port=42000)) == expected


def test_a_template_that_is_over_is_not_there_any_more(version: int) -> None:
    first, second, slots = two_worlds(version, persistence_s=60)
    ack = first.establish()
    first.handle(replace(ack, what="RA"))
    first.wait(130)
    assert first.balancer.flows.table.template_count == 0
    assert resume(second, slots)[0].templates == 0


def drained(world: World) -> tuple[int | None, float | None, int, int] | None:
    """Return the deadline of the newest server, when it began, how many it cut, and the weight."""
    server = next(iter(world.balancer.services)).servers[0]
    drain = server.drain
    if drain is None:
        return None
    return drain.deadline_s, drain.since, drain.ended, server.weight


@pytest.mark.parametrize("deadline_s", [None, 60])
def test_a_drained_server_is_drained_on_up_to_the_same_deadline(
    version: int, deadline_s: int | None
) -> None:
    first, second, slots = two_worlds(version, servers=2, persistence_s=300)
    first.establish()
    server = next(iter(first.balancer.services)).servers[0]
    place = server.service.key, *server.config.place
    first.apply(Drain(*place, deadline_s))
    began = first.now
    first.establish(cport=40001)
    first.wait(30)
    write_the_rest(keeper_of(first))
    second.now = first.now + 5
    resumption, _ = resume(second, slots)
    assert resumption.drains == [Drain(*place, deadline_s, began)]
    assert drained(second) == (deadline_s, began, 0, 0)
    assert second.chosen(second.from_client(cport=40002)) == second.rip(1)
    second.wait(40)
    assert drained(second) == (deadline_s, began, 0 if deadline_s is None else 1, 0)


def test_a_drain_that_was_taken_back_or_is_wanted_otherwise_is_not_kept(version: int) -> None:
    first, second, slots = two_worlds(version, servers=2)
    server = next(iter(first.balancer.services)).servers[0]
    place = server.service.key, *server.config.place
    first.apply(Drain(*place, 60))
    write_the_rest(keeper_of(first))
    second.apply(Drain(*place, 7))
    assert resume(second, slots)[0].drains == []
    assert drained(second) == (7, second.now, 0, 0)
    second.apply(Undrain(*place))
    write_the_rest(keeper_of(second))
    assert Kind.DRAIN not in slots.records()
    third = World(version)
    serve(third, servers=2)
    resume(third, slots)
    assert drained(third) is None


def test_a_drain_is_written_down_with_the_change_that_brings_it(version: int) -> None:
    first, second, slots = two_worlds(version, servers=2)
    first.establish()
    server = next(iter(first.balancer.services)).servers[0]
    changes = first.apply(Drain(server.service.key, *server.config.place, 60))
    keeper_of(first).keep_transitions(changes.all)
    resume(second, slots)
    assert drained(second) == (60, first.now, 0, 0)


def test_a_drain_that_is_taken_back_is_over_for_the_next_one_at_once(version: int) -> None:
    first, second, slots = two_worlds(version, servers=2)
    server = next(iter(first.balancer.services)).servers[0]
    place = server.service.key, *server.config.place
    for command in (Drain(*place, 60), Undrain(*place)):
        keeper_of(first).keep_transitions(first.apply(command).all)
    resume(second, slots)
    assert drained(second) is None


@pytest.mark.parametrize("scheduler", ["rr", "wlc", "mh", "fo"])
@pytest.mark.parametrize("passed_s", [0, 30, 99, 130])
def test_a_server_that_begins_slowly_goes_on_with_that(
    version: int, scheduler: str, passed_s: int
) -> None:
    first, second, slots = two_worlds(version, scheduler=scheduler, servers=2, slow_start_s=100)
    for world in (first, second):
        world.wait(200)  # the first ones have begun by then
    (service,) = first.balancer.services
    for server in service.servers:
        first.edit_server(server, weight=1000)
    first.remove_server(service, 2)
    again = first.add_server(service, 2, weight=1000)
    write_the_rest(keeper_of(first))
    first.wait(passed_s)
    for server in next(iter(second.balancer.services)).servers:
        second.edit_server(server, weight=1000)
    second.now = first.now
    resume(second, slots)
    came = next(iter(second.balancer.services)).find(*again.config.place)
    assert (came.weight, came.last_weight) == (again.weight, again.last_weight)
    assert (came.ramp is None) == (again.ramp is None)
    first.wait(200)
    second.wait(200)
    assert came.weight == again.weight
    write_the_rest(keeper_of(second))
    assert Kind.RAMP not in slots.records()


def test_a_slow_beginning_is_written_down_with_the_change_that_brings_it(version: int) -> None:
    first, _, slots = two_worlds(version, scheduler="wlc", servers=2, slow_start_s=100)
    first.wait(200)
    server = next(iter(first.balancer.services)).servers[0]
    keeper = keeper_of(first)
    for weight, kept in ((0, 0), (5, 1), (0, 0)):
        change = EditServer(server.service.key, replace(server.config, weight=weight))
        keeper.keep_transitions(first.apply(change).all)
        assert len(slots.records().get(Kind.RAMP, ())) == kept


def test_a_slow_beginning_after_an_illness_is_written_down_at_once(version: int) -> None:
    first, second, slots = two_worlds(version, scheduler="wlc", servers=2, slow_start_s=100)
    for world in (first, second):
        world.wait(200)  # the first ones have begun by then
    server = next(iter(first.balancer.services)).servers[0]
    place = server.service.key, *server.config.place
    keeper = keeper_of(first)
    for health, kept in ((Health.REMOVED, 0), (Health.UP, 1), (Health.QUIESCED, 0), (Health.UP, 1)):
        keeper.keep_transitions(first.apply(SetHealth(*place, health)).all)
        assert len(slots.records().get(Kind.RAMP, ())) == kept
    second.apply(SetHealth(*place, Health.STANDBY))
    resume(second, slots)
    came = next(iter(second.balancer.services)).servers[0]
    assert (came.weight, came.ramp) == (0, None)


@pytest.mark.parametrize("health", [Health.QUIESCED, Health.REMOVED])
def test_connections_of_a_server_that_is_not_up_go_on_once_it_is(
    version: int, health: Health
) -> None:
    first, second, slots = two_worlds(version, servers=1)
    ack = first.establish()
    write_the_rest(keeper_of(first))
    server = next(iter(second.balancer.services)).servers[0]
    place = server.service.key, *server.config.place
    second.apply(SetHealth(*place, health))
    resume(second, slots)
    second.apply(SetHealth(*place, Health.UP))
    assert second.handle(ack) == raw(second.to_server(ack))


def test_a_server_that_is_not_to_begin_slowly_any_more_does_not(version: int) -> None:
    first, second, slots = two_worlds(version, scheduler="wlc", servers=2, slow_start_s=100)
    for world in (first, second):
        world.wait(200)  # the first ones have begun by then
    (service,) = first.balancer.services
    first.edit_server(service.servers[0], weight=0)
    first.edit_server(service.servers[0], weight=5)
    write_the_rest(keeper_of(first))
    (other,) = second.balancer.services
    second.edit(other, slow_start_s=0)
    second.now = first.now
    resume(second, slots)
    assert [each.ramp for each in other.servers] == [None, None]
    assert Kind.RAMP not in slots.records()


def test_a_service_that_is_removed_and_added_again_has_one_record_with_its_own_counts(
    version: int,
) -> None:
    first, second, slots = two_worlds(version)
    for _ in range(3):
        first.establish()
        write_the_rest(keeper_of(first))
        (service,) = first.balancer.services
        first.remove(service)
        serve(first)
        first.establish(cport=40007)
    write_the_rest(keeper_of(first))
    assert len(slots.records()[Kind.SERVICE]) == 1
    (counted,) = (each.meter.totals for each in first.balancer.services)
    resume(second, slots)
    assert [each.meter.totals for each in second.balancer.services] == [counted]


def test_connections_that_a_deadline_has_cut_are_counted_on(version: int) -> None:
    first, second, slots = two_worlds(version)
    first.establish()
    server = next(iter(first.balancer.services)).servers[0]
    first.apply(Drain(server.service.key, *server.config.place, 0))
    first.wait(1)
    write_the_rest(keeper_of(first))
    resume(second, slots)
    assert drained(second) == (0, 1000.0, 1, 0)


def keeper_of(world: World) -> Keeper:
    """Return who writes a world down."""
    return next(each for each in world.balancer.flows.observers.present if isinstance(each, Keeper))


def test_local_ports_and_numbers_of_fullnat_are_not_given_again(version: int) -> None:
    first, second, slots = two_worlds(version, "fullnat")
    (keeper,) = first.balancer.flows.observers.present
    first.shake_hands(first.from_client())
    write_the_rest(keeper)  # type: ignore[arg-type]
    resume(second, slots)
    (connection,) = second.balancer.flows.table
    assert connection.local is not None
    assert connection.local.given == 1
    assert (
        dict(second.balancer.flows.numbers.last()).keys()
        == dict(first.balancer.flows.numbers.last()).keys()
    )


def test_numbers_that_are_forgotten_are_not_written_down_any_more(version: int) -> None:
    first, _, slots = two_worlds(version, "fullnat")
    ack = first.shake_hands(first.from_client())
    write_the_rest(keeper_of(first))
    assert Kind.NUMBERS in slots.records()
    speak(first, replace(ack, what="R"))
    first.wait(1000)
    write_the_rest(keeper_of(first))
    assert Kind.NUMBERS not in slots.records()


def _without_server(world: World, service: Service) -> None:
    world.remove_server(service)


def _without_service(world: World, service: Service) -> None:
    world.remove(service)


@pytest.mark.parametrize("change", [_without_server, _without_service])
def test_what_has_no_server_any_more_is_dropped_and_counted(version: int, change: Any) -> None:
    first, second, slots = two_worlds(version)
    first.establish()
    first.establish(client=2)
    room = len(Slots().free)
    change(second, next(iter(second.balancer.services)))
    resumption, _ = resume(second, slots)
    assert (resumption.connections, dict(resumption.dropped)) == (0, {GONE: 2})
    assert (second.states(), len(slots.free)) == ([], room)


@pytest.mark.parametrize(
    ("before", "after"),
    [("nat", "dr"), ("dr", "nat"), ("nat", "fullnat"), ("fullnat", "nat")],
)
def test_what_is_forwarded_otherwise_now_is_dropped(version: int, before: str, after: str) -> None:
    slots, first, second = Slots(), World(version), World(version)
    serve(first, before, rport=80)
    serve(second, after, rport=80)
    keep(first, slots)
    assert speak(first, first.from_client())
    resumption, _ = resume(second, slots)
    assert dict(resumption.dropped) == {OTHERWISE: 1}


def test_what_had_a_local_address_that_is_not_ours_any_more_is_dropped(version: int) -> None:
    slots, first, second = Slots(), World(version), World(version)
    serve(first, "fullnat")
    serve(second, "fullnat", lip=OTHER_LIP[version])
    keep(first, slots)
    first.shake_hands(first.from_client())
    assert dict(resume(second, slots)[0].dropped) == {OTHERWISE: 1}


def test_what_finds_no_room_is_dropped(version: int) -> None:
    first, second, slots = two_worlds(version)
    for client in range(1, 4):
        first.establish(client=client)
    second.settings.max_connections = 2
    resumption, _ = resume(second, slots)
    assert (resumption.connections, dict(resumption.dropped)) == (2, {NO_ROOM: 1})


def test_a_record_that_was_half_written_is_not_there(version: int) -> None:
    first, second, slots = two_worlds(version)
    first.establish()
    (at,) = slots.records()[Kind.CONNECTION]
    slots.buffer[at] = 0  # as while it is written
    assert resume(second, slots)[0].connections == 0


def test_damaged_records_are_dropped_and_the_others_go_on(version: int) -> None:
    first, second, slots = two_worlds(version)
    for client in range(1, 5):
        first.establish(client=client)
    damaged, *_ = slots.records()[Kind.CONNECTION]
    for change in (1, 12, 50):  # its state, its protocol, its reply's source
        slots.buffer[damaged + change] ^= 0xFF
    resumption, _ = resume(second, slots)
    assert (resumption.connections, dict(resumption.dropped)) == (3, {HALF: 1})


def test_a_full_store_costs_no_packet_and_what_is_written_goes_on(version: int) -> None:
    first, second, slots = two_worlds(version)
    del slots.free[:-3]  # the server's, and two connections
    for client in range(1, 5):
        first.establish(client=client)
    assert first.balancer.flows.observers.fault is None
    assert resume(second, slots)[0].connections == 2


def test_a_removed_server_is_forgotten_once_nothing_points_at_it(version: int) -> None:
    first, _, slots = two_worlds(version)
    (keeper,) = first.balancer.flows.observers.present
    (service,) = first.balancer.services
    ack = first.establish()
    first.remove_server(service)
    write_the_rest(keeper)  # type: ignore[arg-type]
    assert Kind.SERVER in slots.records()
    assert first.handle(ack) is Verdict.DROP
    first.wait(910)
    write_the_rest(keeper)  # type: ignore[arg-type]
    assert Kind.SERVER not in slots.records()
    first.remove(service)
    write_the_rest(keeper)  # type: ignore[arg-type]
    assert slots.records() == {}


def test_what_a_foreign_store_holds_raises_nothing(version: int) -> None:
    first, second, slots = two_worlds(version, "fullnat")
    for client in range(1, 9):
        first.shake_hands(first.from_client(client=client))
    for number, at in enumerate(range(snapshot.SLOT, len(slots.buffer), snapshot.SLOT)):
        for change in range(number % 7, snapshot.SLOT, 11):
            slots.buffer[at + change] = (number * 37 + change) & 0xFF
    resumption, _ = resume(second, slots)
    assert resumption.connections <= 8
    assert second.leave(second.from_client(client=200))
