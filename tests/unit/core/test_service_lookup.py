"""Which service a packet belongs to: mark, endpoint, the VIP's FTP, the VIP's port 0."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lvsd.core.commands import AddService
from lvsd.core.values import ServiceConfig, ServiceKey
from lvsd.core.verdict import Verdict
from lvsd.errors import ControlError
from lvsd.packet.address import pack
from tests.unit.core.world import FirstAdded, World, raw

if TYPE_CHECKING:
    from lvsd.core.service import Service

pytestmark = pytest.mark.parametrize("version", [4, 6])


def _lookup(
    world: World, vport: int, *, protocol: int = 6, vip: int = 1, mark: int = 0
) -> Service | None:
    return world.balancer.services.lookup(protocol, pack(world.vip(vip)), vport, mark)


def test_a_mark_goes_before_the_endpoint(version: int) -> None:
    world = World(version)
    world.serve(vport=80)
    marked = world.serve(fwmark=7)
    assert _lookup(world, 80, mark=7) is marked


def test_a_mark_without_a_service_leaves_the_endpoint_to_decide(version: int) -> None:
    world = World(version)
    web = world.serve(vport=80)
    assert _lookup(world, 80, mark=7) is web


def test_a_mark_is_good_for_every_protocol(version: int) -> None:
    world = World(version)
    marked = world.serve(fwmark=7)
    assert [_lookup(world, 5, protocol=number, mark=7) for number in (6, 17, 132)] == [marked] * 3


def test_a_mark_of_the_other_ip_version_is_another_service(version: int) -> None:
    world = World(version)
    key = ServiceKey(fwmark=7, family=10 - version)
    world.apply(AddService(ServiceConfig(key)))
    assert _lookup(world, 80, mark=7) is None


def test_the_endpoint_goes_before_the_vips_port_0(version: int) -> None:
    world = World(version)
    world.serve(vport=0, persistence_s=60)
    web = world.serve(vport=80)
    assert _lookup(world, 80) is web


def test_port_0_takes_what_no_other_service_of_the_vip_takes(version: int) -> None:
    world = World(version)
    catch_all = world.serve(vport=0, persistence_s=60)
    world.serve(vport=80)
    assert _lookup(world, 81) is catch_all
    assert _lookup(world, 81, vip=2) is None


def test_port_0_takes_only_its_own_protocol(version: int) -> None:
    world = World(version)
    world.serve(vport=0, persistence_s=60)
    assert _lookup(world, 81, protocol=17) is None


@pytest.mark.parametrize("vport", [20, 1024, 65535])
def test_ftps_data_ports_go_to_the_vips_ftp_service_before_port_0(version: int, vport: int) -> None:
    world = World(version)
    world.serve(vport=0, persistence_s=60)
    ftp = world.serve(vport=21)
    assert _lookup(world, vport) is ftp


@pytest.mark.parametrize("vport", [19, 22, 1023])
def test_other_privileged_ports_do_not_go_to_ftp(version: int, vport: int) -> None:
    world = World(version)
    world.serve(vport=21)
    assert _lookup(world, vport) is None


def test_ftp_over_udp_takes_no_other_ports(version: int) -> None:
    world = World(version)
    world.serve("udp", vport=21)
    assert _lookup(world, 2000, protocol=17) is None


def test_a_removed_service_is_not_found(version: int) -> None:
    world = World(version)
    for vport in (0, 21, 80):
        service = world.serve(vport=vport, persistence_s=60)
        world.remove(service)
    assert [_lookup(world, vport) for vport in (80, 2000)] == [None, None]


def test_a_service_cannot_be_added_twice(version: int) -> None:
    world = World(version)
    web, marked = world.serve(vport=80), world.serve(fwmark=7)
    for service in (web, marked):
        with pytest.raises(ControlError, match="Service already exists"):
            world.apply(AddService(ServiceConfig(service.key)))
    assert list(world.balancer.services) == [web, marked]


def test_a_service_that_is_not_there_cannot_be_had(version: int) -> None:
    world = World(version)
    for key in (ServiceKey(6, pack(world.vip()), 80), ServiceKey(fwmark=7)):
        with pytest.raises(ControlError, match="No such service"):
            world.balancer.services.get(key)


def test_a_packet_to_another_port_of_the_vip_passes(version: int) -> None:
    world = World(version)
    world.serve(vport=80)
    assert world.handle(world.from_client(vport=81)) is Verdict.PASS
    assert world.balancer.tally.passed == 1


def test_ftp_without_persistence_lets_its_data_ports_pass(version: int) -> None:
    world = World(version)
    world.serve(vport=21)
    assert world.handle(world.from_client(vport=2000)) is Verdict.PASS


def test_ftp_without_persistence_lets_its_data_ports_pass_when_the_table_is_full(
    version: int,
) -> None:
    world = World(version)
    world.settings.max_connections = 0
    world.serve(vport=21)
    assert world.handle(world.from_client(vport=2000)) is Verdict.PASS


def test_port_0_without_persistence_has_no_server_for_any_port(version: int) -> None:
    world = World(version)
    world.serve(vport=0)
    assert world.handle(world.from_client(vport=81)) is Verdict.DROP
    assert world.drops() == {"no_server": 1}


def test_ftps_data_connection_from_port_20_is_not_scheduled(version: int) -> None:
    world = World(version)
    world.serve(vport=80)
    assert world.handle(world.from_client(cport=20)) is Verdict.PASS


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_a_marked_packet_goes_to_the_servers_port_if_it_has_one(
    version: int, protocol: str
) -> None:
    world = World(version)
    world.serve(fwmark=7, rport=8080)
    request = world.from_client(protocol=protocol, vip=9, vport=5000)
    assert world.handle(request, mark=7) == raw(world.to_server(request))


def test_a_connection_has_the_mark_that_its_service_was_found_by(version: int) -> None:
    world = World(version)
    world.serve(vport=80)
    world.serve(fwmark=7, rport=8080)
    for vip, mark in ((1, 9), (2, 7)):
        world.handle(world.from_client(vip=vip, vport=80), mark=mark)
    assert sorted(each.fwmark for each in world.balancer.connections()) == [0, 7]


def test_a_server_without_a_port_gets_the_one_asked_for(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, rport=0)
    request = world.from_client(vip=9, vport=5000)
    assert world.handle(request, mark=7) == raw(replace(request, destination=world.rip()))


def test_a_scheduler_is_told_the_flow_it_chooses_for(version: int) -> None:
    world = World(version)
    scheduler = FirstAdded()
    world.serve(scheduler=scheduler)
    world.handle(world.from_client(cport=1234))
    (flow,) = scheduler.flows
    assert (flow.source, flow.source_port) == (pack(world.client()), 1234)
    assert (flow.destination, flow.destination_port) == (pack(world.vip()), 80)
