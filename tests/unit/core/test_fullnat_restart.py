"""FULLNAT after a restart or failover: real servers still have the last director's connections."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from forwarders import Fullnat
from lvsd.core.flows import SENT_AT_ONCE
from lvsd.core.local_pool import LocalPool
from lvsd.core.resets import reset_translated
from lvsd.core.sequence_numbers import Origin
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import World

pytestmark = pytest.mark.parametrize("version", [4, 6])

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
OLD = 3_000_000_000
"""What a server waits for on a connection of the director before."""


def _world(version: int, told: str = "none", *, port: int = 0) -> World:
    world = World(version, origin=Origin(b"secret", 1_800_000_000.0, port))
    world.balancer.network.local_addresses = frozenset({pack(LIP[version])})
    pool = LocalPool((pack(LIP[version]),), 5000, 6999)
    world.serve(forwarder=Fullnat(told), local=pool)  # type: ignore[arg-type]  # one of its words
    return world


def _parsed(world: World, data: bytes) -> IP | IPv6:
    return IP(data) if world.version == 4 else IPv6(data)


def _say(got: IP | IPv6, flags: str, ack: int, *, payload: bytes = b"") -> bytes:
    """Return what the real server says to the sender of ``got``."""
    tcp = TCP(sport=got.dport, dport=got.sport, flags=flags, seq=7777, ack=ack % 2**32)
    return bytes(type(got)(src=got.dst, dst=got.src) / tcp / payload)


@pytest.mark.parametrize("told", ["none", "toa", "proxy-v2"])
@pytest.mark.parametrize("flags", ["A", "PA", "FA"])
def test_a_server_gives_up_an_older_connection_unnoticed_by_the_client(
    version: int, told: str, flags: str
) -> None:
    world = _world(version, told)
    first = world.leave(world.from_client())
    got = _parsed(world, first)
    assert world.handle(_say(got, flags, OLD, payload=b"old")) is Verdict.TAKEN
    reset, syn = (each.data for each in world.sent())
    assert syn == first
    parsed = _parsed(world, reset)
    assert (parsed.src, parsed.sport, parsed.dst, parsed.dport) == (
        *(LIP[version], got.sport),
        *(world.rip(), 8080),
    )
    assert (str(parsed[TCP].flags), parsed[TCP].seq) == ("R", OLD)
    assert world.states() == ["SYN_RECV"]
    answer = _parsed(world, world.leave(_say(got, "SA", got[TCP].seq + 1)))
    assert (answer.dst, str(answer[TCP].flags), answer[TCP].ack) == (world.client(), "SA", 1001)


def test_the_syn_goes_again_once_for_each_of_the_clients(version: int) -> None:
    world = _world(version)
    syn = world.from_client()
    got = _parsed(world, world.leave(syn))
    sent = []
    for again in (False, False, True, False):
        if again:
            world.leave(syn)
        world.handle(_say(got, "A", OLD))
        sent.append([str(_parsed(world, each.data)[TCP].flags) for each in world.sent()])
    assert sent == [["R", "S"], ["R"], ["R", "S"], ["R"]]


def test_a_syn_that_is_sent_again_keeps_its_local_end_and_its_number(version: int) -> None:
    world = _world(version)
    syn = world.from_client()
    first = world.leave(syn)
    world.handle(_say(_parsed(world, first), "A", OLD))
    world.sent()
    world.now += 1
    assert world.leave(syn) == first


def test_data_that_overtakes_the_servers_syn_reaches_the_client(version: int) -> None:
    world = _world(version)
    got = _parsed(world, world.leave(world.from_client()))
    data = world.leave(_say(got, "PA", got[TCP].seq + 1, payload=b"early"))
    assert bytes(_parsed(world, data)[TCP].payload) == b"early"


def test_an_old_acknowledgement_later_on_is_the_clients_to_judge(version: int) -> None:
    world = _world(version)
    got = _parsed(world, world.leave(world.from_client()))
    world.leave(_say(got, "SA", got[TCP].seq + 1))
    assert _parsed(world, world.leave(_say(got, "A", OLD))).dst == world.client()


def test_ports_and_numbers_go_on_after_a_restart(version: int) -> None:
    before, after = _world(version), _world(version, port=1234)
    after.now = before.now + 1
    old, new = (_parsed(each, each.leave(each.from_client())) for each in (before, after))
    assert (old.sport, new.sport) == (5000, 6234)
    assert 0 < (new[TCP].seq - old[TCP].seq) % 2**32 < 2**31


def test_a_stop_resets_all_that_may_still_carry_data_at_both_ends(version: int) -> None:
    world = _world(version)
    closing = world.shake_hands(world.from_client(cport=30000))
    world.leave(replace(closing, what="FA"))
    for cport in range(30001, 30999):
        world.shake_hands(world.from_client(cport=cport))
    world.leave(world.from_client(cport=30999))
    sent = []
    for _ in reset_translated(world.balancer.flows):
        sent.append(len(world.balancer.outbox.departures))
        packets = [_parsed(world, each.data) for each in world.sent()]
        assert {str(each[TCP].flags) for each in packets} == {"R"}
    sent.append(len(world.sent()))
    assert max(sent) <= SENT_AT_ONCE + 1
    assert sum(sent) == 2 * 999
    assert world.balancer.flows.table.count == 0
