"""What is dropped, why, and what its sender is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Raw

from lvsd.core.commands import AddService, RemoveService
from lvsd.core.outbox import ANSWERS_KEPT
from lvsd.core.values import ServiceConfig
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import ETHERNET, World, counts, icmp_error, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])

PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])


def _told(world: World) -> Any:
    """Return the one ICMP message that waits, and check whom it is for."""
    (answer,) = world.balancer.outbox.answers
    assert answer.destination == pack(world.client())
    if world.version == 4:
        return ICMP(answer.message)
    classes = {1: ICMPv6DestUnreach, 2: ICMPv6PacketTooBig, 3: ICMPv6TimeExceeded}
    return classes[answer.message[0]](answer.message)


@PROTOCOLS
def test_without_a_server_the_client_is_told_port_unreachable(version: int, protocol: str) -> None:
    world = World(version)
    world.serve(protocol, servers=0)
    request = world.from_client(protocol=protocol)
    assert world.handle(request) is Verdict.DROP
    assert world.drops() == {"no_server": 1}
    told = _told(world)
    assert (told.type, told.code) == ((3, 3) if version == 4 else (1, 4))
    assert bytes(told.payload) == raw(request)


@PROTOCOLS
def test_a_service_refuses_nobody_while_its_servers_are_still_to_come(
    version: int, protocol: str
) -> None:
    world = World(version)
    key = world.serve(protocol, servers=0).key
    steps = world.balancer.changing()
    for command in (RemoveService(key), AddService(ServiceConfig(key, "rr"))):
        for _ in steps.doing(command):
            pass
    request = world.from_client(protocol=protocol)
    assert world.handle(request) is Verdict.DROP
    assert world.drops() == {"no_server": 1}
    assert world.balancer.outbox.answers == []
    for _ in steps.finishing(world.now):
        pass
    assert world.handle(request) is Verdict.DROP
    assert len(world.balancer.outbox.answers) == 1


def test_with_nothing_but_quiesced_servers_the_client_is_told_port_unreachable(
    version: int,
) -> None:
    world = World(version)
    service = world.serve()
    world.edit_server(service.servers[0], weight=0)
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_server": 1}


@pytest.mark.parametrize(
    "source", [("127.0.0.1", "::1"), ("224.0.0.5", "ff02::5"), ("255.255.255.255", "::")]
)
def test_who_cannot_be_told_is_not_told(version: int, source: tuple[str, str]) -> None:
    world = World(version)
    world.serve(servers=0)
    request = replace(world.from_client(), source=source[version == 6])
    assert world.handle(request) is Verdict.DROP
    assert world.balancer.outbox.answers == []


def test_only_so_many_answers_wait(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = replace(world.establish(), payload=bytes(1400))
    service.servers[0].mtu = 1400
    for _ in range(ANSWERS_KEPT + 10):
        world.handle(ack)
    assert len(world.balancer.outbox.answers) == ANSWERS_KEPT
    assert world.drops() == {"too_big": ANSWERS_KEPT + 10}


def test_a_full_table_refuses_new_connections_and_keeps_the_old_ones(version: int) -> None:
    world = World(version)
    world.settings.max_connections = 2
    service = world.serve()
    ack = world.establish(cport=1)
    world.establish(cport=2)
    assert world.handle(world.from_client(cport=3)) is Verdict.DROP
    assert world.drops() == {"table_full": 1}
    assert world.balancer.outbox.answers == []
    assert world.handle(ack) == raw(world.to_server(ack))
    assert counts(service.servers[0]) == (2, 0)


def test_a_full_table_takes_a_new_connection_once_an_old_one_has_ended(version: int) -> None:
    world = World(version)
    world.settings.max_connections = 1
    world.serve()
    world.handle(world.from_client(cport=1))
    world.wait(61)
    assert isinstance(world.handle(world.from_client(cport=2)), bytes)


def test_a_full_table_takes_a_syn_in_place_of_its_closed_connection(version: int) -> None:
    world = World(version)
    world.settings.max_connections = 1
    world.serve()
    syn = world.from_client()
    world.handle(syn)
    world.handle(replace(syn, what="FA"))
    assert isinstance(world.handle(syn), bytes)
    assert world.states() == ["SYN_RECV"]


@pytest.mark.parametrize("room", range(5))
def test_templates_take_room_in_the_table_and_never_more_than_there_is(
    version: int, room: int
) -> None:
    world = World(version)
    world.settings.max_connections = room
    world.serve(persistence_s=300)
    for client in range(1, 10):
        world.handle(world.from_client(client=client))
    assert len(world.balancer.flows.table) <= room
    assert world.balancer.counters()["templates"] == room // 2


@PROTOCOLS
@pytest.mark.parametrize("ttl", [0, 1])
def test_an_expiring_ttl_gets_time_exceeded(version: int, protocol: str, ttl: int) -> None:
    world = World(version)
    world.serve(protocol)
    request = replace(world.from_client(protocol=protocol), ttl=ttl)
    assert world.handle(request) is Verdict.DROP
    assert world.drops() == {"ttl_expired": 1}
    told = _told(world)
    assert (told.type, told.code) == ((11, 0) if version == 4 else (3, 0))


def test_a_packet_whose_ttl_expires_still_moves_its_connection(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.handle(replace(world.from_client(), ttl=1))
    assert world.states() == ["SYN_RECV"]
    assert service.meter.totals.in_packets == 1


def test_a_ttl_of_2_is_enough_and_left_to_the_kernel_to_decrement(version: int) -> None:
    world = World(version)
    world.serve()
    request = replace(world.from_client(), ttl=2)
    assert world.handle(request) == raw(world.to_server(request))


def test_a_reply_is_not_asked_for_its_ttl(version: int) -> None:
    world = World(version)
    world.serve()
    ack = world.establish()
    reply = replace(world.to_server(ack).reversed, ttl=1)
    assert isinstance(world.reply(reply), bytes)


@PROTOCOLS
def test_a_packet_too_big_for_the_way_out_tells_the_mtu(version: int, protocol: str) -> None:
    world = World(version)
    service = world.serve(protocol)
    service.servers[0].mtu = 1400
    request = replace(world.from_client(protocol=protocol), payload=bytes(1400))
    assert world.handle(request) is Verdict.DROP
    assert world.drops() == {"too_big": 1}
    told = _told(world)
    if version == 4:
        assert (told.type, told.code, told.nexthopmtu) == (3, 4, 1400)
    else:
        assert (told.type, told.code, told.mtu) == (2, 0, 1400)


def test_a_packet_as_big_as_the_mtu_goes_through(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = replace(world.establish(), payload=bytes(1300))
    service.servers[0].mtu = len(raw(ack))
    assert world.handle(ack) == raw(world.to_server(ack))
    service.servers[0].mtu -= 1
    assert world.handle(ack) is Verdict.DROP


def test_a_packet_that_may_be_fragmented_is_never_too_big(version: int) -> None:
    world = World(version)
    service = world.serve()
    service.servers[0].mtu = 1400
    ack = replace(world.establish(), payload=bytes(1400), dont_fragment=False)
    outcome = world.handle(ack)
    assert outcome == (raw(world.to_server(ack)) if version == 4 else Verdict.DROP)


def test_a_packet_put_together_from_fragments_is_never_too_big(version: int) -> None:
    world = World(version)
    service = world.serve("udp")
    service.servers[0].mtu = 1400
    world.balancer.network.link_mtus[ETHERNET] = 1500
    request = replace(world.from_client(protocol="udp"), payload=bytes(3000))
    assert world.handle(request) == raw(world.to_server(request))


def test_without_a_known_mtu_nothing_is_too_big(version: int) -> None:
    world = World(version)
    world.serve("udp")
    request = replace(world.from_client(protocol="udp"), payload=bytes(9000))
    assert world.handle(request) == raw(world.to_server(request))


def _fragment(world: World, offset: int, *, more: bool) -> bytes:
    source, destination = world.client(), world.vip()
    if world.version == 4:
        header = IP(src=source, dst=destination, proto=17, frag=offset, flags="MF" * more)
    else:
        header = IPv6(src=source, dst=destination)
        header /= IPv6ExtHdrFragment(nh=17, offset=offset, m=int(more), id=1)
    request = raw(world.from_client(protocol="udp"))
    datagram = request[20 if world.version == 4 else 40 :]
    return bytes(header / Raw(datagram))


@pytest.mark.parametrize(("offset", "more"), [(0, True), (185, True), (185, False)])
def test_a_fragment_is_dropped_and_counted(version: int, offset: int, *, more: bool) -> None:
    world = World(version)
    world.serve("udp")
    assert world.handle(_fragment(world, offset, more=more)) is Verdict.DROP
    assert world.drops() == {"fragment": 1}
    assert world.states() == []


def test_a_later_fragment_of_a_known_connection_is_dropped_and_counted(version: int) -> None:
    world = World(version)
    world.serve("udp")
    world.handle(world.from_client(protocol="udp"))
    assert world.handle(_fragment(world, 185, more=False)) is Verdict.DROP
    assert world.drops() == {"fragment": 1}


def test_no_bytes_and_cut_packets_are_malformed(version: int) -> None:
    world = World(version)
    world.serve()
    syn = raw(world.from_client())
    for length in range(len(syn)):
        assert world.handle(syn[:length]) is Verdict.DROP
    assert world.drops() == {"malformed": len(syn)}
    assert world.balancer.outbox.answers == []


@pytest.mark.parametrize("protocol", [2, 47, 50, 89, 255])
def test_a_packet_of_another_protocol_passes(version: int, protocol: int) -> None:
    world = World(version)
    world.serve(fwmark=7)
    source, destination = world.client(), world.vip()
    header = (
        IP(src=source, dst=destination, proto=protocol)
        if version == 4
        else IPv6(src=source, dst=destination, nh=protocol)
    )
    assert world.handle(bytes(header / Raw(bytes(40))), mark=7) is Verdict.PASS


def test_a_ping_passes(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7)
    source, destination = world.client(), world.vip()
    ping = (
        IP(src=source, dst=destination) / ICMP()
        if version == 4
        else IPv6(src=source, dst=destination) / ICMPv6EchoRequest()
    )
    assert world.handle(bytes(ping), mark=7) is Verdict.PASS


def test_every_reason_is_reported_also_when_it_has_not_come_up(version: int) -> None:
    world = World(version)
    world.handle(b"")
    assert world.balancer.dropped() == {
        "malformed": 1,
        "fragment": 0,
        "no_connection": 0,
        "no_server": 0,
        "server_gone": 0,
        "table_full": 0,
        "service_full": 0,
        "ttl_expired": 0,
        "too_big": 0,
        "bad_checksum": 0,
        "no_route": 0,
        "no_local_port": 0,
        "not_translated": 0,
        "not_local": 0,
        "plugin_fault": 0,
    }


def test_an_icmp_error_whose_ttl_expires_is_dropped_in_silence(version: int) -> None:
    world = World(version)
    world.serve()
    ack = world.establish()
    error = bytearray(icmp_error("unreachable", world.client(), world.vip(), ack.reversed))
    error[8 if version == 4 else 7] = 1
    assert world.handle(bytes(error)) is Verdict.DROP
    assert world.drops() == {"ttl_expired": 1}
    assert world.balancer.outbox.answers == []


def test_a_stray_packet_is_left_to_the_host_that_has_the_virtual_address(version: int) -> None:
    world = World(version)
    world.serve()
    world.balancer.network.local_addresses = frozenset({pack(world.vip())})
    assert world.handle(world.from_client("A")) is Verdict.PASS


def test_a_stray_packet_is_dropped_where_routing_would_send_it_round(version: int) -> None:
    world = World(version)
    world.serve()
    world.balancer.network.local_addresses = frozenset()
    assert world.handle(world.from_client("A")) is Verdict.DROP
    assert world.drops() == {"no_connection": 1}
