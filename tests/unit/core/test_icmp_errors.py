"""ICMP errors about connections, in both directions: rewritten outside and inside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.verdict import Hook, Verdict
from tests.unit.core.world import ICMP_ERRORS, Segment, World, icmp_error, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])

PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
KINDS = pytest.mark.parametrize("kind", ICMP_ERRORS)
ROUTER = {4: "203.0.113.1", 6: "2001:db8:e::1"}


def _open(world: World, protocol: str) -> Segment:
    """Open a connection; return a request of it that carries data."""
    world.serve(protocol)
    request = world.from_client(protocol=protocol)
    assert isinstance(world.handle(request), bytes)
    return replace(request, what={"tcp": "PA", "udp": "", "sctp": "DATA"}[protocol], payload=b"12")


def _whole_quote(protocol: str, version: int) -> int | None:
    """SCTP's checksum is not that of the rewritten packet; without it, all must agree."""
    return None if protocol != "sctp" else (28 if version == 4 else 48)


@PROTOCOLS
@KINDS
def test_an_error_from_a_client_about_a_reply_reaches_the_real_server(
    version: int, protocol: str, kind: str
) -> None:
    world = World(version)
    request = _open(world, protocol)
    quoted = _whole_quote(protocol, version)
    error = icmp_error(kind, world.client(), world.vip(), request.reversed, quoted=quoted)
    about = world.to_server(request).reversed
    expected = icmp_error(kind, world.client(), world.rip(), about, quoted=quoted)
    assert world.handle(error) == expected


@PROTOCOLS
@KINDS
def test_an_error_from_a_real_server_about_a_request_reaches_the_client(
    version: int, protocol: str, kind: str
) -> None:
    world = World(version)
    request = _open(world, protocol)
    quoted = _whole_quote(protocol, version)
    about = world.to_server(request)
    error = icmp_error(kind, world.rip(), world.client(), about, quoted=quoted)
    assert world.reply(error) == icmp_error(
        kind, world.vip(), world.client(), request, quoted=quoted
    )


@PROTOCOLS
def test_eight_bytes_of_the_transport_header_are_enough(version: int, protocol: str) -> None:
    world = World(version)
    request = _open(world, protocol)
    quoted = 28 if version == 4 else 48
    error = icmp_error("unreachable", world.client(), world.vip(), request.reversed, quoted=quoted)
    outcome = world.handle(error)
    assert isinstance(outcome, bytes)
    assert len(outcome) == len(error)


def test_an_error_of_a_router_on_the_way_to_the_client_keeps_its_source(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    router = ROUTER[version]
    error = icmp_error("too big", router, world.vip(), request.reversed)
    about = world.to_server(request).reversed
    assert world.handle(error) == icmp_error("too big", router, world.rip(), about)


def test_errors_are_counted_in_and_out(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    (service,) = world.balancer.services
    first = service.meter.totals
    inward = icmp_error("unreachable", world.client(), world.vip(), request.reversed)
    outward = icmp_error("unreachable", world.rip(), world.client(), world.to_server(request))
    world.handle(inward)
    world.reply(outward)
    totals = service.meter.totals
    assert totals == first._replace(
        in_packets=first.in_packets + 1,
        out_packets=1,
        in_bytes=first.in_bytes + len(inward),
        out_bytes=len(outward),
    )
    assert service.servers[0].meter.totals == totals


def test_an_error_leaves_state_and_timer_alone(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    (before,) = world.balancer.connections()
    world.now += 10
    world.handle(icmp_error("unreachable", world.client(), world.vip(), request.reversed))
    assert list(world.balancer.connections()) == [before]


def test_an_error_about_a_removed_servers_reply_still_reaches_it(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    (service,) = world.balancer.services
    world.remove_server(service)
    error = icmp_error("too big", world.client(), world.vip(), request.reversed)
    assert isinstance(world.handle(error), bytes)


def test_an_error_about_no_connection_passes(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    other = replace(request.reversed, destination_port=1)
    error = icmp_error("unreachable", world.client(), world.vip(), other)
    assert world.handle(error) is Verdict.PASS


def test_an_error_about_a_request_as_the_client_sent_it_passes(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    error = icmp_error("unreachable", ROUTER[version], world.client(), request)
    assert world.handle(error, hook=Hook.FORWARD) is Verdict.PASS


def test_an_error_with_a_wrong_checksum_is_dropped(version: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    error = bytearray(icmp_error("unreachable", world.client(), world.vip(), request.reversed))
    error[-1] ^= 1
    assert world.handle(bytes(error)) is Verdict.DROP
    assert world.drops() == {"bad_checksum": 1}


@pytest.mark.parametrize("quoted", [0, 1, 19, 20, 24, 27])
def test_an_error_that_quotes_too_little_to_be_ours_passes(version: int, quoted: int) -> None:
    world = World(version)
    request = _open(world, "tcp")
    error = icmp_error("unreachable", world.client(), world.vip(), request.reversed, quoted=quoted)
    assert world.handle(error) is Verdict.PASS


def test_an_error_that_quotes_the_other_ip_version_passes(version: int) -> None:
    world = World(version)
    _open(world, "tcp")
    other = World(10 - version).from_client()
    error = icmp_error("unreachable", world.client(), world.vip(), other.reversed)
    assert world.handle(error) is Verdict.PASS


def test_with_replies_that_clash_an_error_goes_where_the_replies_go(version: int) -> None:
    world = World(version)
    world.serve("udp", vip=1)
    world.serve("udp", vip=2)
    older = world.from_client(protocol="udp", vip=1)
    newer = world.from_client(protocol="udp", vip=2)
    world.handle(older)
    world.handle(newer)
    error = icmp_error("unreachable", world.rip(), world.client(), world.to_server(older))
    assert world.reply(error) == icmp_error("unreachable", world.vip(2), world.client(), newer)


def test_the_packet_that_scapy_quotes_is_the_packet_that_it_sends(version: int) -> None:
    request = World(version).from_client("PA")
    error = icmp_error("unreachable", request.destination, request.source, request)
    assert error.endswith(raw(request))
