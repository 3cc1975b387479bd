"""Whatever bytes arrive, the director says something, raises nothing, and leaks nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lvsd.core.verdict import Hook, Reason, Verdict
from tests.property.examples import examples
from tests.unit.core.world import ETHERNET, World, icmp_error, raw


def _templates(version: int) -> list[bytes]:
    """Return a packet of every kind that the director looks into."""
    world = World(version)
    segments = [
        replace(world.from_client(protocol=protocol, vport=vport), payload=b"payload")
        for protocol in ("tcp", "udp", "sctp")
        for vport in (80, 21, 5000)
    ]
    segments += [world.to_server(segment).reversed for segment in segments[::3]]
    errors = [
        icmp_error("unreachable", world.client(), world.vip(), segment.reversed)
        for segment in segments[::3]
    ]
    return [*map(raw, segments), *errors]


PACKETS = [*_templates(4), *_templates(6)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a packet with some bytes changed, cut off or added."""
    packet = bytearray(draw(st.sampled_from(PACKETS)))
    for _ in range(draw(st.integers(0, 4))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    end = draw(st.one_of(st.just(len(packet)), st.integers(0, len(packet))))
    return bytes(packet[:end]) + draw(st.binary(max_size=4))


@examples(300)
@given(
    packets=st.lists(st.one_of(damaged(), st.binary(max_size=120)), max_size=20),
    hooks=st.lists(st.sampled_from(Hook), min_size=20, max_size=20),
    mark=st.sampled_from([0, 7]),
    sloppy=st.booleans(),
    nodest=st.booleans(),
)
def test_any_bytes_get_a_verdict_and_nothing_leaks(
    packets: list[bytes], hooks: list[Hook], mark: int, *, sloppy: bool, nodest: bool
) -> None:
    world = World()
    balancer = world.balancer
    world.settings.sloppy_tcp = world.settings.sloppy_sctp = sloppy
    world.settings.expire_nodest_conn = nodest
    for version in (4, 6):
        world.version = version
        for protocol in ("tcp", "udp", "sctp"):
            world.serve(protocol)
        world.serve(vport=21, persistence_s=30)
        world.serve(fwmark=7, persistence_s=30)
    outcomes = []
    for data, hook in zip(packets, hooks, strict=False):
        outcomes.append(balancer.handle(data, hook, mark, ETHERNET, world.now))
        world.now += 0.25
    assert all(isinstance(each, bytes | Verdict) for each in outcomes)
    assert outcomes.count(Verdict.DROP) == balancer.tally.drops.total()
    assert balancer.tally.drops.keys() <= set(Reason)
    assert outcomes.count(Verdict.PASS) >= balancer.tally.passed
    list(balancer.connections())
    for _ in range(2):
        world.now += 10_000
        world.tick()
    assert balancer.flows.table.by_key == {}
    assert len(balancer.flows.table) == 0
    assert balancer.flows.table._wheel._buckets == {}
    assert [
        (server.active, server.total, server.templates)
        for service in balancer.services
        for server in service.servers
    ] == [(0, 0, 0)] * 10
