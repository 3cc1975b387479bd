"""Programs on the director as clients: served, or left to the host if no answer can come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from forwarders import Dr, Fullnat, Tun
from lvsd.core.local_pool import LocalPool
from lvsd.core.verdict import Hook, Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import Segment, World, icmp_error, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
BYPASSING = pytest.mark.parametrize("forwarder", [Dr(), Tun("ipip")])


def _world(version: int, *, held: bool, **service: Any) -> World:
    world = World(version)
    own = {pack(world.source), pack(LIP[version])} | ({pack(world.vip())} if held else set())
    world.balancer.network.local_addresses = frozenset(own)
    world.serve(local=LocalPool((pack(LIP[version]),)), **service)
    return world


def _request(world: World, what: str = "S", *, held: bool, vport: int = 80) -> Segment:
    """Return a packet of a program on the director; the kernel chose its source."""
    source = world.vip() if held else world.source
    return replace(world.from_client(what, vport=vport), source=source)


@pytest.mark.parametrize("held", [True, False])
def test_nat_serves_a_program_of_the_directors_own(version: int, *, held: bool) -> None:
    world = _world(version, held=held)
    syn = _request(world, held=held)
    assert world.handle(syn, hook=Hook.OUTPUT) == raw(world.to_server(syn))
    answer = replace(world.to_server(syn).reversed, what="SA")
    assert world.handle(answer, hook=Hook.INPUT) == raw(replace(syn.reversed, what="SA"))
    assert world.states() == ["SYN_RECV"]


@pytest.mark.parametrize("held", [True, False])
def test_fullnat_serves_a_program_of_the_directors_own(version: int, *, held: bool) -> None:
    world = _world(version, held=held, forwarder=Fullnat("none"))
    sent = world.leave(_request(world, held=held), hook=Hook.OUTPUT)
    header = IP(sent) if version == 4 else IPv6(sent)
    assert (header.src, header.dst) == (LIP[version], world.rip())


@BYPASSING
def test_where_no_answer_could_come_back_the_host_has_the_packet(
    version: int, forwarder: Any
) -> None:
    world = _world(version, held=True, forwarder=forwarder)
    assert world.handle(_request(world, held=True), hook=Hook.OUTPUT) is Verdict.PASS
    assert world.states() == []
    assert (world.sent(), world.drops()) == ([], {})


def test_no_connection_is_half_made_where_only_some_servers_could_answer(version: int) -> None:
    world = _world(version, held=True)
    (service,) = world.balancer.services
    world.add_server(service, 2, forwarder=Dr())
    for cport in range(4):
        request = replace(_request(world, held=True), source_port=cport + 1)
        assert world.handle(request, hook=Hook.OUTPUT) is Verdict.PASS
    assert world.states() == []


@BYPASSING
def test_an_answer_can_come_back_to_an_address_that_is_not_the_vip(
    version: int, forwarder: Any
) -> None:
    world = _world(version, held=False, forwarder=forwarder)
    world.leave(_request(world, held=False), hook=Hook.OUTPUT)
    assert world.states() == ["SYN_RECV"]


def test_the_hosts_own_answer_from_a_virtual_endpoint_is_no_request(version: int) -> None:
    world = _world(version, held=True, vport=0, rport=0, persistence_s=300)
    answer = replace(_request(world, "SA", held=True), source_port=80, destination_port=40000)
    assert world.handle(answer, hook=Hook.OUTPUT) is Verdict.PASS
    assert world.states() == []


def test_a_lost_connection_of_its_own_is_the_hosts_to_refuse_if_it_has_the_vip(
    version: int,
) -> None:
    world = _world(version, held=True)
    assert world.handle(_request(world, "A", held=True), hook=Hook.OUTPUT) is Verdict.PASS
    world = _world(version, held=False)
    assert world.handle(_request(world, "A", held=False), hook=Hook.OUTPUT) is Verdict.DROP
    assert len(world.sent()) == 1


def test_what_a_program_marks_is_a_request_of_the_mark(version: int) -> None:
    world = World(version)
    world.balancer.network.local_addresses = frozenset()
    world.serve(fwmark=7)
    request = _request(world, held=False)
    assert isinstance(world.handle(request, hook=Hook.OUTPUT, mark=7), bytes)
    other = replace(request, source_port=1)
    assert world.handle(other, hook=Hook.OUTPUT, mark=8) is Verdict.PASS


def test_an_icmp_error_to_the_host_does_not_come_from_an_address_of_its_own(version: int) -> None:
    world = _world(version, held=True)
    syn = _request(world, held=True)
    world.handle(syn, hook=Hook.OUTPUT)
    router = world.client(9)
    about = world.to_server(syn)
    outcome = world.handle(icmp_error("too big", router, world.vip(), about))
    assert isinstance(outcome, bytes)
    header = IP(outcome) if version == 4 else IPv6(outcome)
    assert (header.src, header.dst) == (router, world.vip())
    assert outcome[-len(raw(syn)) :][-20:-16] == raw(syn)[-20:-16]
