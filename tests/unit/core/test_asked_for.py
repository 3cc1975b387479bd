"""What users of kernel IPVS ask for, one test each; docs/asked-for.md says who asks, and why.

Where it takes a network to show it, the page names a test of `tests/netns`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

from forwarders import Fullnat, Tun
from forwarders.fullnat import TOA_KIND
from lvsd.core.commands import Drain
from lvsd.core.local_pool import LocalPool
from lvsd.core.timeouts import Timing
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from lvsd.packet.client_address import toa
from tests.unit.core.world import FirstAdded, World, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])


def test_connections_are_drained_instead_of_cut_when_a_server_goes(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    leaving = service.servers[-1]
    world.apply(Drain(service.key, *leaving.config.place, 600))
    assert world.chosen(world.from_client(client=2)) == world.rip(2)
    for _ in range(5):
        world.wait(100)
        assert world.handle(ack) == raw(world.to_server(ack))
    world.handle(replace(ack, what="R"))
    world.wait(12)
    (told,) = world.balancer.transitions.drains.told()
    assert told == (service.key, *leaving.config.place, 0)
    assert world.remove_server(service, 1) is leaving


@pytest.mark.parametrize("nodest", [False, True])
def test_a_port_that_is_used_again_does_not_reach_a_quiesced_server(
    version: int, *, nodest: bool
) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = nodest
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    world.handle(replace(ack, what="FA"))
    world.answer(ack, "FA")
    assert world.states() == ["TIME_WAIT"]
    world.edit_server(service.servers[-1], weight=0)
    assert world.chosen(replace(ack, what="S")) == world.rip(2)


def test_packets_to_a_removed_server_do_not_vanish(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    world.balancer.network.local_addresses = frozenset()
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    world.remove_server(service, 1)
    world.handle(ack)
    (refusal,) = world.sent()
    told = (IP if version == 4 else IPv6)(refusal.data)
    assert (told.dst, str(told[TCP].flags)) == (world.client(), "R")
    assert world.chosen(replace(ack, what="S")) == world.rip(2)


def test_an_idle_connection_is_not_lost_in_silence_after_15_minutes(version: int) -> None:
    world = World(version)
    world.balancer.network.local_addresses = frozenset()
    world.serve(timing=Timing(tcp_s=7200))
    ack = world.establish()
    world.wait(7100)
    assert world.handle(ack) == raw(world.to_server(ack))
    world.wait(7300)
    assert world.handle(ack) is Verdict.DROP
    (refusal,) = world.sent()
    told = (IP if version == 4 else IPv6)(refusal.data)
    assert (told.dst, str(told[TCP].flags)) == (world.client(), "R")


@pytest.mark.parametrize("how", ["removed", "drained"])
def test_udp_leaves_a_dead_server(version: int, how: str) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = how == "removed"
    service = world.serve("udp", servers=2, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    assert world.chosen(request) == world.rip(1)
    if how == "removed":
        world.remove_server(service, 1)
    else:
        world.apply(Drain(service.key, *service.servers[-1].config.place, 0))
        world.wait(1)
    assert world.chosen(request) == world.rip(2)


@pytest.mark.parametrize("how", ["weight 0", "drained"])
def test_persistent_clients_leave_a_server_of_weight_0(version: int, how: str) -> None:
    world = World(version)
    world.settings.expire_quiescent_template = how == "weight 0"
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    assert world.chosen(world.from_client(cport=1)) == world.rip(1)
    if how == "weight 0":
        world.edit_server(service.servers[-1], weight=0)
    else:
        world.apply(Drain(service.key, *service.servers[-1].config.place))
    assert world.chosen(world.from_client(cport=2)) == world.rip(2)


def test_datagrams_of_a_single_source_spread_over_the_servers(version: int) -> None:
    world = World(version)
    world.serve("udp", servers=3, one_packet=True, scheduler="rr")
    request = world.from_client(protocol="udp")
    assert {world.chosen(request) for _ in range(3)} == {world.rip(number) for number in (1, 2, 3)}


@pytest.mark.parametrize(("scheduler", "flag"), [("sh", "sh-port"), ("mh", "mh-port")])
def test_ports_count_in_the_hash(version: int, scheduler: str, flag: str) -> None:
    world = World(version)
    world.serve(servers=4, scheduler=scheduler, flags=frozenset({flag}))
    world.serve(servers=4, scheduler=scheduler, vip=2)
    ports = range(2000, 2040)
    with_ports = {world.chosen(world.from_client(cport=each)) for each in ports}
    without = {world.chosen(world.from_client(cport=each, vip=2)) for each in ports}
    assert (len(with_ports), len(without)) == (4, 1)


def test_each_service_has_a_scheduler_of_its_own(version: int) -> None:
    world = World(version)
    names = ["mh", "rr", "sh", "wlc"]
    for vip, name in enumerate(names, start=1):
        world.serve(servers=2, vip=vip, scheduler=name)
    assert [each.scheduler.name for each in world.balancer.services] == names


def test_a_server_behind_fullnat_is_told_the_clients_address(version: int) -> None:
    world = World(version)
    own = pack(world.source)
    world.balancer.network.local_addresses = frozenset({own})
    world.serve(forwarder=Fullnat(), local=LocalPool((own,)))
    world.shake_hands(world.from_client())
    data = replace(world.from_client("PA"), payload=b"hello")
    assert toa(pack(world.client()), 40000, TOA_KIND) in world.leave(data)


def test_a_full_size_packet_for_a_tunnel_is_answered_with_what_fits(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun(), mss_clamp=True)
    syn = world.from_client()
    world.leave(syn)
    headers = 40 if version == 4 else 60
    full = replace(world.from_client("PA"), payload=bytes(1500 - headers))
    assert world.handle(full) is Verdict.DROP
    (answer,) = world.balancer.outbox.answers
    assert int.from_bytes(answer.message[4:8], "big") == 1500 - (20 if version == 4 else 40)
    assert answer.message[0] == (ICMP(type=3).type if version == 4 else ICMPv6PacketTooBig().type)
    fits = replace(full, payload=bytes(1500 - headers - (20 if version == 4 else 40)))
    assert len(world.leave(fits)) == 1500
