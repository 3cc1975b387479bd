"""Services of any port: the port stays, and one path serves every port that clients think of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.path import Path
from tests.unit.core.world import Segment, World, icmp_error, raw

VERSIONS = pytest.mark.parametrize("version", [4, 6])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
VPORTS = 22, 443, 65535

pytestmark = [VERSIONS, PROTOCOLS]


def _open(version: int, protocol: str) -> tuple[World, list[Segment]]:
    """Open a connection to each of `VPORTS`; return what opened them."""
    world = World(version)
    world.serve(protocol, vport=0, rport=0, persistence_s=60)
    requests = [world.from_client(protocol=protocol, vport=vport) for vport in VPORTS]
    for request in requests:
        world.handle(request)
    return world, requests


def _data(request: Segment) -> Segment:
    what = {"tcp": "PA", "udp": "", "sctp": "DATA"}[request.protocol]
    return replace(request, what=what, payload=b"some data")


def test_all_ports_share_one_path(version: int, protocol: str) -> None:
    world, _ = _open(version, protocol)
    assert [each.path.users for each in world.balancer.flows.table] == [len(VPORTS)] * len(VPORTS)
    (service,) = world.balancer.services
    assert len(service.servers[0].paths) == 1


def test_a_service_of_a_mark_shares_one_path_among_the_ports_too(
    version: int, protocol: str
) -> None:
    world = World(version)
    (server,) = world.serve(fwmark=7, rport=0).servers
    for vport in VPORTS:
        request = world.from_client(protocol=protocol, vport=vport)
        assert world.handle(request, mark=7) == raw(world.to_server(request, rport=vport))
    assert len(server.paths) == 1


def test_a_request_keeps_its_port(version: int, protocol: str) -> None:
    world, requests = _open(version, protocol)
    for request in map(_data, requests):
        expected = world.to_server(request, rport=request.destination_port)
        assert world.handle(request) == raw(expected)


def test_a_reply_keeps_its_port(version: int, protocol: str) -> None:
    world, requests = _open(version, protocol)
    for request in map(_data, requests):
        behind = world.to_server(request, rport=request.destination_port)
        assert world.reply(behind.reversed) == raw(request.reversed)


def test_a_server_with_the_virtual_port_shares_the_path_as_well(
    version: int, protocol: str
) -> None:
    world = World(version)
    (server,) = world.serve(protocol, vport=80, rport=80).servers
    request = world.from_client(protocol=protocol)
    assert world.handle(request) == raw(world.to_server(request, rport=80))
    (path,) = server.paths.values()
    assert isinstance(path, Path)
    assert path.ends.vport is None


def test_errors_about_a_request_and_a_reply_are_rewritten_outside_and_inside(
    version: int, protocol: str
) -> None:
    world, requests = _open(version, protocol)
    quoted = None if protocol != "sctp" else (28 if version == 4 else 48)
    for request in map(_data, requests):
        behind = world.to_server(request, rport=request.destination_port)
        about = icmp_error("too big", world.rip(), world.client(), behind, quoted=quoted)
        assert world.reply(about) == icmp_error(
            "too big", world.vip(), world.client(), request, quoted=quoted
        )
        about = icmp_error(
            "unreachable", world.client(), world.vip(), request.reversed, quoted=quoted
        )
        assert world.handle(about) == icmp_error(
            "unreachable", world.client(), world.rip(), behind.reversed, quoted=quoted
        )


def test_a_listing_shows_each_connections_own_ports(version: int, protocol: str) -> None:
    world, _ = _open(version, protocol)
    ports = [(row.vport, row.rport) for row in world.balancer.connections() if not row.template]
    assert ports == [(vport, vport) for vport in VPORTS]


def test_a_removed_server_no_longer_counts_what_any_port_sends(version: int, protocol: str) -> None:
    world, requests = _open(version, protocol)
    (service,) = world.balancer.services
    before = service.meter.totals
    server = world.remove_server(service, rport=0)
    for request in requests:
        world.reply(world.to_server(request, rport=request.destination_port).reversed)
    assert service.meter.totals == server.meter.totals == before
