"""Connections of the director before this one that are still to be taken in, and who meets them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from lvsd.core.commands import Drain, SetTimeouts
from lvsd.core.gathering import HALF
from lvsd.core.observers import Observer
from lvsd.core.resets import reset_translated
from lvsd.core.snapshot import Kind
from lvsd.packet.address import text
from lvsd.packet.view import Packet
from tests.unit.core.kept import begin_to_resume, write_the_rest
from tests.unit.core.test_resuming import keeper_of, serve, speak, two_worlds
from tests.unit.core.world import World

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.pending import Pending
    from lvsd.core.resuming import Resumption

pytestmark = pytest.mark.parametrize("version", [4, 6])


def pending_of(world: World) -> Pending:
    """Return what a world has still to take in."""
    pending = world.balancer.flows.table.pending
    assert pending is not None
    return pending


def resumed(
    version: int, way: str = "nat", clients: int = 3, **options: Any
) -> tuple[World, World, Resumption]:
    """Return a world with established connections, and one that has them pending."""
    first, second, slots = two_worlds(version, way, **options)
    for client in range(1, clients + 1):
        if way == "fullnat":
            first.shake_hands(first.from_client(client=client))
        else:
            first.establish(client=client)
    write_the_rest(keeper_of(first))
    return first, second, begin_to_resume(second, slots)[0]


def test_nothing_is_taken_in_before_it_is_wanted_and_all_is_counted(version: int) -> None:
    first, second, resumption = resumed(version, servers=2)
    assert (len(pending_of(second)), len(second.balancer.flows.table.by_key)) == (3, 0)
    assert second.balancer.counters()["connections"] == resumption.connections == 3
    for one, other in zip(first.balancer.services, second.balancer.services, strict=True):
        assert one.share.entries == other.share.entries == 3
        for mine, its in zip(one.servers, other.servers, strict=True):
            assert (mine.active, mine.total) == (its.active, its.total)


@pytest.mark.parametrize("way", ["nat", "fullnat"])
def test_a_packet_of_either_direction_finds_its_connection_and_takes_in_no_other(
    version: int, way: str
) -> None:
    first, second, _ = resumed(version, way)
    ack = first.from_client("PA", client=2)
    got = speak(first, ack)
    assert speak(second, ack) == got != []
    assert len(pending_of(second)) == 2
    (_, other, _) = first.balancer.flows.table
    assert second.balancer.flows.table.find(other.reply_key) is not None
    assert len(pending_of(second)) == 2
    (_, _, last) = first.balancer.flows.table
    assert second.balancer.flows.table.find(last.reply_key) is not None
    assert len(pending_of(second)) == 1


def test_what_was_taken_in_is_passed_over_later(version: int) -> None:
    _, second, resumption = resumed(version)
    second.handle(second.from_client("PA", client=2))
    for _ in resumption.rest():
        pass
    assert second.balancer.flows.table.pending is None
    assert second.balancer.flows.table.count == 3
    assert len(list(second.balancer.flows.table)) == 3


def test_an_icmp_error_finds_its_connection(version: int) -> None:
    first, second, _ = resumed(version)
    got = speak(first, first.from_client("PA", client=2))[0]
    quoted = Packet()
    quoted.load(got)
    source, client = first.rip(99), text(quoted.source)
    header, error = (
        (IP(src=source, dst=client), ICMP(type=3, code=1))
        if version == 4
        else (IPv6(src=source, dst=client), ICMPv6DestUnreach(code=3))
    )
    message = bytes(header / error / Raw(got))
    assert isinstance(second.handle(message), bytes)
    assert second.handle(message) == first.handle(message)


def test_a_new_connection_with_the_same_reply_key_takes_it_until_it_ends(version: int) -> None:
    first, second, slots = two_worlds(version)
    for world in (first, second):
        serve(world, vip=2)
    first.establish()
    begin_to_resume(second, slots)
    for world in (first, second):
        world.handle(world.from_client(vip=2))
        world.handle(world.from_client("A"))
    reply = first.to_server(first.from_client()).reversed
    assert second.reply(reply) == first.reply(reply)
    for world in (first, second):
        world.handle(world.from_client("R", vip=2))
        world.wait(70)
    assert second.reply(reply) == first.reply(reply)
    assert second.states() == first.states() == ["ESTABLISHED"]


def test_of_two_with_one_reply_key_the_later_record_has_the_replies(version: int) -> None:
    first, second, slots = two_worlds(version)
    for world in (first, second):
        serve(world, vip=2)
    first.establish()
    first.establish(vip=2)
    begin_to_resume(second, slots)
    second.handle(second.from_client("A"))
    reply = first.to_server(first.from_client()).reversed
    assert second.reply(reply) == first.reply(reply)


def test_no_new_connection_gets_a_local_port_that_is_pending(version: int) -> None:
    first, second, _ = resumed(version, "fullnat", clients=5)
    taken = {each.reply_key for each in first.balancer.flows.table}
    for client in range(10, 15):
        second.leave(second.from_client(client=client))
    own = {each.reply_key for each in second.balancer.flows.table}
    assert len(own) == 5
    assert not own & taken
    assert len(pending_of(second)) == 5


def test_a_new_connection_begins_above_the_numbers_of_what_is_pending(version: int) -> None:
    first, second, _ = resumed(version, "fullnat", clients=1)
    ahead = dict(first.balancer.flows.numbers.last())
    second.leave(second.from_client(client=10))
    for pair, last in second.balancer.flows.numbers.last():
        assert 0 < (last - ahead[pair]) & 0xFFFFFFFF < 1 << 31


def test_a_connection_expires_when_it_would_have(version: int) -> None:
    _, second, _ = resumed(version)
    second.wait(890)
    assert len(pending_of(second)) == 3
    second.wait(12)
    assert second.balancer.flows.table.pending is None
    assert second.balancer.counters()["connections"] == 0
    assert second.handle(second.from_client("A")) != b""


def test_a_listing_has_all_of_them_once(version: int) -> None:
    first, second, _ = resumed(version, clients=6)
    listing = second.balancer.connections()
    rows = list(islice(listing, 2))
    second.handle(second.from_client("PA", client=5))
    rows += listing
    assert sorted(each.client for each in rows) == sorted(
        each.client for each in first.balancer.connections()
    )


@pytest.mark.parametrize("what", ["remove server", "remove", "edit", "drain", "timeouts", "weight"])
def test_a_change_finds_taken_in_what_it_concerns(version: int, what: str) -> None:
    first, second, _ = resumed(version, servers=2)
    for world in (first, second):
        (service,) = world.balancer.services
        server = service.servers[0]
        match what:
            case "remove server":
                world.remove_server(service, 2)
            case "remove":
                world.remove(service)
            case "edit":
                world.edit(service, persistence_s=60)
            case "drain":
                world.apply(Drain(service.key, *server.config.place))
            case "timeouts":
                world.apply(SetTimeouts(30, 0, 0))
            case "weight":
                world.edit_server(server, weight=0)
    assert second.balancer.flows.table.pending is None
    for client in range(1, 4):
        data = first.from_client("PA", client=client)
        assert second.handle(data) == first.handle(data)


def test_a_change_of_another_service_leaves_them_pending(version: int) -> None:
    _, second, _ = resumed(version)
    other = serve(second, vip=2)
    second.edit(other, persistence_s=60)
    second.remove(other)
    assert len(pending_of(second)) == 3


def test_a_full_table_takes_of_them_those_that_are_still_opening(version: int) -> None:
    first, second, slots = two_worlds(version)
    first.establish()
    for client in range(2, 5):
        first.handle(first.from_client(client=client))
    second.settings.max_connections = 5
    begin_to_resume(second, slots)
    for client in range(5, 9):
        assert isinstance(second.handle(second.from_client(client=client)), bytes)
    assert second.balancer.counters()["connections"] == 5
    assert second.balancer.flows.admission.evicted == 3
    assert sorted(second.states()) == ["ESTABLISHED", *["SYN_RECV"] * 4]
    assert isinstance(second.handle(second.from_client("A")), bytes)


def test_local_ports_that_are_all_given_are_taken_of_those_that_are_opening(version: int) -> None:
    first, second, slots = two_worlds(version, "fullnat")
    for client in range(1, 3):
        first.leave(first.from_client(client=client))
    begin_to_resume(second, slots)
    (free,) = second.balancer.flows.local_ports.free.values()
    while free.take() is not None:
        pass
    assert second.leave(second.from_client(client=9))
    assert second.balancer.counters()["connections"] == 2


def test_what_is_dropped_when_it_is_taken_in_is_counted_no_more(version: int) -> None:
    first, second, slots = two_worlds(version, "fullnat")
    for client in range(1, 4):
        first.shake_hands(first.from_client(client=client))
    damaged = slots.records()[Kind.CONNECTION][0]
    slots.buffer[damaged + 50] ^= 0xFF  # the real server's address
    resumption, _ = begin_to_resume(second, slots)
    assert resumption.connections == 3
    for _ in resumption.rest():
        pass
    assert (resumption.connections, dict(resumption.dropped)) == (2, {HALF: 1})
    (service,) = second.balancer.services
    assert (service.servers[0].active, service.servers[0].total, service.share.entries) == (2, 2, 2)
    assert sum(each.given for each in second.balancer.flows.local_ports.free.values()) == 2


def test_an_observer_hears_of_each_when_it_is_taken_in(version: int) -> None:
    class Ear(Observer):
        heard = 0

        def opened(self, connection: Connection) -> None:
            assert connection.kept
            self.heard += 1

    _, second, resumption = resumed(version)
    ear = Ear()
    second.balancer.flows.observers.add(ear)
    second.handle(second.from_client("PA", client=2))
    assert ear.heard == 1
    for _ in resumption.rest():
        pass
    assert ear.heard == 3


def test_a_stop_for_good_resets_them_and_any_other_leaves_them_where_they_are(version: int) -> None:
    _, second, _ = resumed(version, "fullnat")
    for _ in reset_translated(second.balancer.flows, kept=True):
        pass
    assert (len(pending_of(second)), second.sent()) == (3, [])
    for _ in reset_translated(second.balancer.flows):
        pass
    assert second.balancer.counters()["connections"] == 0
    assert second.sent()


def test_the_next_one_has_those_that_were_never_taken_in(version: int) -> None:
    first, second, slots = two_worlds(version)
    for client in range(1, 4):
        first.establish(client=client)
    begin_to_resume(second, slots)
    second.handle(replace(second.from_client(client=2), what="FA"))
    third = World(version)
    serve(third)
    resumption, _ = begin_to_resume(third, slots)
    assert resumption.connections == 3
    third.handle(third.from_client("A", client=2))
    assert sorted(third.states()) == ["CLOSE_WAIT", "ESTABLISHED", "ESTABLISHED"]
