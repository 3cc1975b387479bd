"""An edit takes over all that the operator says, and nothing else.

What may be configured is found by looking: a field is either named here as something else (the
identity, what the network says of the way, what happens at run time), or an edit takes it over.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from scapy.layers.inet import IP

from forwarders import Dr, Nat, Tun
from lvsd.assembly import make_service
from lvsd.config import model
from lvsd.core.service import RealServer, Service
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from schedulers import BUILT_IN
from tests.unit.core.world import World

SERVICE_IDENTITY = {"key"}
SERVICE_RUN_TIME = {"servers", "departed", "meter", "fault", "share"}
SERVICE_HISTORY = {"was_persistent"}
POOL_RUN_TIME = {"turn"}
SERVER_IDENTITY = {"address", "port", "service"}
SERVER_WAY = {"mtu", "source", "is_local"}
SERVER_RUN_TIME = {
    "active",
    "available",
    "last_weight",
    "meter",
    "noticed",
    "overloaded",
    "paths",
    "refusals",
    "templates",
    "total",
    "unanswered",
}

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
}
"""Every key of a service that an edit may change, with a value that is not the default."""

NOT_EDITED = {"address", "protocol", "fwmark", "family"}
"""Keys that make it another service."""

NOT_THE_SERVICES = {
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


def _configured(thing: object, besides: set[str]) -> dict[str, object]:
    """Return a thing's fields by name, but for some; of what has fields itself, those."""
    assert is_dataclass(thing)
    return {
        each.name: getattr(thing, each.name) for each in fields(thing) if each.name not in besides
    }


def _service_as_configured(service: Service) -> dict[str, object]:
    found = _configured(service, SERVICE_IDENTITY | SERVICE_RUN_TIME | SERVICE_HISTORY)
    scheduler = service.scheduler
    found["scheduler"] = scheduler.name, scheduler.flags
    found["local"] = _configured(service.local, POOL_RUN_TIME)
    return found


def _service(**options: Any) -> Service:
    return make_service(
        model.Service.model_validate(
            {"name": "web", "address": "192.0.2.1:80", "protocol": "udp", **options}
        )
    )


def test_an_edit_of_a_service_takes_over_every_key() -> None:
    keys = set(model.Service.model_fields)
    assert keys - NOT_EDITED - NOT_THE_SERVICES == set(EVERYTHING)
    service, wanted = _service(), _service(**EVERYTHING)
    before, asked = _service_as_configured(service), _service_as_configured(wanted)
    assert [key for key, value in before.items() if value == asked[key]] == []
    service.edit(wanted)
    assert _service_as_configured(service) == asked
    service.edit(_service())
    assert _service_as_configured(service) == before


def test_a_service_that_an_edit_made_persistent_is_known_as_that_ever_after() -> None:
    service = _service()
    known = [service.was_persistent]
    for edit in (EVERYTHING, {}):
        service.edit(_service(**edit))
        known.append(service.was_persistent)
    assert known == [False, True, True]


def test_an_edit_of_a_service_leaves_what_happens_at_run_time() -> None:
    world = World()
    service = world.serve(protocol="udp")
    world.handle(world.from_client(protocol="udp"))
    kept = SERVICE_RUN_TIME - {"was_persistent"}  # it notes that the service has been
    before = {name: getattr(service, name) for name in kept}
    service.edit(_service(**EVERYTHING))
    assert {name: getattr(service, name) for name in kept} == before
    assert service.was_persistent


def test_an_edit_of_a_server_takes_over_all_that_may_be_configured_and_nothing_of_the_way() -> None:
    world = World()
    service = world.serve()
    (server,) = service.servers
    world.establish()
    others = SERVER_WAY | (SERVER_RUN_TIME - {"last_weight"})
    before = {name: getattr(server, name) for name in others}
    wanted = RealServer(
        server.address, server.port, weight=9, upper=7, lower=3, forwarder=Tun("gre")
    )
    asked = _configured(wanted, SERVER_IDENTITY | SERVER_WAY | SERVER_RUN_TIME)
    present = _configured(server, SERVER_IDENTITY | SERVER_WAY | SERVER_RUN_TIME)
    assert [key for key, value in present.items() if value == asked[key]] == []
    service.edit_server(wanted)
    assert _configured(server, SERVER_IDENTITY | SERVER_WAY | SERVER_RUN_TIME) == asked
    assert {name: getattr(server, name) for name in others} == before


def test_new_connections_find_the_way_after_the_weight_of_a_tunnels_server_changed() -> None:
    world = World()
    service = world.serve(forwarder=Tun())
    server = service.servers[0]
    service.edit_server(RealServer(server.address, server.port, weight=5, forwarder=Tun()))
    outer = IP(world.leave(world.from_client()))
    assert (outer.src, outer.dst) == (world.source, world.rip())
    assert (server.weight, server.mtu) == (5, 1500)


def test_a_server_that_comes_back_keeps_what_is_known_of_the_way_to_it() -> None:
    world = World()
    service = world.serve(forwarder=Tun())
    world.leave(world.from_client())
    gone = service.remove(pack(world.rip()), 80)
    assert service.add(RealServer(gone.address, gone.port, forwarder=Tun())) is gone
    outer = IP(world.leave(world.from_client(cport=40001)))
    assert (outer.src, outer.dst) == (world.source, world.rip())


def test_a_servers_forwarder_changes_for_new_connections_only() -> None:
    world = World()
    service = world.serve(rport=80)
    request = world.establish()
    server = service.servers[0]
    service.edit_server(RealServer(server.address, server.port, forwarder=Dr()))
    assert isinstance(world.handle(request), bytes)
    assert world.handle(world.from_client(cport=40001)) is Verdict.TAKEN


def test_a_scheduler_of_the_same_name_and_flags_goes_on_where_it_is() -> None:
    world = World()
    service = world.serve(servers=2)
    present = service.scheduler
    service.edit(Service(service.key, BUILT_IN["rr"](), name="renamed"))
    assert service.scheduler is present
    assert service.name == "renamed"
    assert service.servers[0].forwarder == Nat()
