"""An edit takes over all that the operator says, and nothing else.

What is wanted is one value, which an edit replaces. All else that a service or a server has is
found by looking, and must stay: what the network says of the way, and what happens at run time.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from scapy.layers.inet import IP

from forwarders import Dr, Nat, Tun
from lvsd.assembly import service_config
from lvsd.config import model
from lvsd.config.shape import Reading
from lvsd.core.commands import AddServer, EditServer, EditService
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig
from lvsd.core.verdict import Verdict
from tests.unit.core.world import World

EVERYTHING: dict[str, Any] = {
    "name": "another",
    "scheduler": "sh",
    "scheduler_flags": ["sh-port"],
    "persistence_s": 77,
    "persistence_netmask": 16,
    "one_packet": True,
    "mss_clamp": True,
    "max_connections": 99,
    "local_addresses": ["10.0.0.7"],
    "local_ports": "2000-3000",
    "tcp_timeout_s": 60,
    "udp_timeout_s": 30,
    "udp_answered_timeout_s": 5,
    "slow_start_s": 30,
}
"""Every key of a service that an edit may change, with a value that is not the default."""

NOT_EDITED = {"address", "protocol", "fwmark", "family"}
"""Keys that make it another service."""

NOT_THE_SERVICES = {
    "check",
    "client_address",
    "forward",
    "interface",
    "servers",
    "toa_kind",
    "tunnel",
    "tunnel_checksum",
    "tunnel_port",
}
"""Keys of the machine, and of real servers' forwarders."""


def _wanted(**options: Any) -> ServiceConfig:
    content = {"name": "web", "address": "192.0.2.1:80", "protocol": "udp", **options}
    found = Reading(model.Service, 1).of(content)
    assert found is not None
    return service_config(found)


def _differing(one: Any, other: Any) -> set[str]:
    """Return the names of fields in which two values differ."""
    names = {each.name for each in fields(one)}
    return {name for name in names if getattr(one, name) != getattr(other, name)}


def _run_time(thing: object, config: object) -> dict[str, object]:
    """Return what is kept of a service or a server besides what is wanted of it."""
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    wanted = {"config", "scheduler", "easing", *(each.name for each in fields(config))}  # type: ignore[arg-type]
    return {name: getattr(thing, name) for name in names if name not in wanted}


def test_every_key_of_a_service_is_part_of_what_is_wanted() -> None:
    keys = {each.name for each in fields(model.Service)}
    assert keys - NOT_EDITED - NOT_THE_SERVICES == set(EVERYTHING)
    every_field = {each.name for each in fields(ServiceConfig)}
    assert _differing(_wanted(), _wanted(**EVERYTHING)) == every_field - {"key"}


def test_an_edit_of_a_service_takes_over_all_of_it_and_leaves_what_happens_at_run_time() -> None:
    world = World()
    service = world.serve(protocol="udp")
    world.handle(world.from_client(protocol="udp"))
    before = _run_time(service, service.config)
    assert {"meter", "servers", "share", "was_persistent"} <= before.keys()
    world.apply(EditService(_wanted(**EVERYTHING)))
    assert service.config == _wanted(**EVERYTHING)
    assert (service.scheduler.name, list(service.scheduler.flags)) == ("sh", ["sh-port"])
    assert _run_time(service, service.config) == before | {"was_persistent": True}
    world.apply(EditService(_wanted()))
    assert service.config == _wanted()
    assert _run_time(service, service.config) == before | {"was_persistent": True}


def test_a_service_that_an_edit_made_persistent_is_known_as_that_ever_after() -> None:
    world = World()
    service = world.serve(protocol="udp")
    known = [service.was_persistent]
    for edit in (EVERYTHING, {}):
        world.apply(EditService(_wanted(**edit)))
        known.append(service.was_persistent)
    assert known == [False, True, True]


def test_an_edit_of_a_server_takes_over_all_that_is_wanted_and_nothing_of_the_way() -> None:
    world = World()
    service = world.serve()
    (server,) = service.servers
    world.establish()
    before = _run_time(server, server.config)
    assert {"mtu", "way", "meter", "active", "last_weight", "paths"} <= before.keys()
    wanted = ServerConfig(server.address, server.port, Tun("gre"), weight=9, upper=7, lower=3)
    assert _differing(server.config, wanted) == {"forwarder", "weight", "upper", "lower"}
    world.apply(EditServer(service.key, wanted))
    assert (server.config, server.weight, server.upper, server.lower) == (wanted, 9, 7, 3)
    assert _run_time(server, server.config) == before | {"last_weight": 9}


def test_new_connections_find_the_way_after_the_weight_of_a_tunnels_server_changed() -> None:
    world = World()
    server = world.serve(forwarder=Tun()).servers[0]
    world.edit_server(server, weight=5)
    outer = IP(world.leave(world.from_client()))
    assert (outer.src, outer.dst) == (world.source, world.rip())
    assert (server.weight, server.mtu) == (5, 1500)


def test_a_server_that_comes_back_keeps_what_is_known_of_the_way_to_it() -> None:
    world = World()
    service = world.serve(forwarder=Tun())
    world.leave(world.from_client())
    gone = world.remove_server(service, 1, 80)
    world.apply(AddServer(service.key, gone.config))
    assert service.servers == [gone]
    outer = IP(world.leave(world.from_client(cport=40001)))
    assert (outer.src, outer.dst) == (world.source, world.rip())


def test_a_servers_forwarder_changes_for_new_connections_only() -> None:
    world = World()
    service = world.serve(rport=80)
    request = world.establish()
    world.edit_server(service.servers[0], forwarder=Dr())
    assert isinstance(world.handle(request), bytes)
    assert world.handle(world.from_client(cport=40001)) is Verdict.TAKEN


def test_a_scheduler_of_the_same_name_and_flags_goes_on_where_it_is() -> None:
    world = World()
    service = world.serve(servers=2)
    present = service.scheduler
    world.edit(service, name="renamed")
    assert service.scheduler is present
    assert service.config.name == "renamed"
    assert service.servers[0].config.forwarder == Nat()


@pytest.mark.parametrize("away", ["server", "service"])
def test_connections_of_a_server_that_was_away_have_the_timeouts_of_its_service(away: str) -> None:
    world = World()
    service = world.serve()
    ack = world.establish()
    if away == "server":
        world.remove_server(service)
        world.edit(service, timing=Timing(tcp_s=60))
        world.add_server(service)
    else:
        world.remove(service)
        world.serve(timing=Timing(tcp_s=60))
    world.handle(ack)
    assert [row.expires - world.now for row in world.balancer.connections()] == [60]
