"""From a configuration to a director, and to what is diverted and forwarded for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvsd.assembly import assemble, commands, forwarded, local_ranges
from lvsd.config.load import validate
from lvsd.core.commands import AddService
from lvsd.core.values import ServiceConfig, ServiceKey, Way
from lvsd.io.diverting import diverted
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from lvsd.config.model import Config

VIP = pack("192.0.2.10")
RIP = pack("10.0.0.11")
LIP = pack("10.0.0.2")
DIP = pack("10.0.0.1")
TCP, UDP = 6, 17


def _config(forward: str, protocol: str = "tcp", port: int = 80, **keys: object) -> Config:
    server = {"address": f"10.0.0.11:{port}"}
    service = {
        "name": "web",
        "address": f"192.0.2.10:{port}",
        "protocol": protocol,
        "forward": forward,
        "server": [server],
    }
    config, faults = validate({"service": [service | keys]})
    assert config is not None, faults
    return config


def _ways(
    config: Config, source: bytes | None = DIP, *, is_local: bool = False
) -> dict[str, object]:
    """Return what is diverted besides the service itself."""
    director = assemble(config, 0.0)
    for service in director.services:
        for server in service.servers:
            server.set_way(Way(1500, source, is_local=is_local))
    state = diverted(director.services)
    assert state.endpoints == {(VIP, service.key.protocol, service.key.vport)}
    assert state.not_forwarded == {VIP}
    of_the_service = {"endpoints", "not_forwarded"}
    found = {name: getattr(state, name) for name in state.__slots__ if name not in of_the_service}
    return {name: value for name, value in found.items() if value}


def test_nat_has_its_replies_taken_in_forward() -> None:
    assert _ways(_config("nat")) == {"servers": {(RIP, TCP, 80)}}


def test_nat_to_the_director_itself_has_its_replies_taken_on_their_way_out() -> None:
    assert _ways(_config("nat"), is_local=True) == {"own_servers": {(RIP, TCP, 80)}}


def test_dr_has_nothing_more_taken() -> None:
    assert _ways(_config("dr")) == {}


def test_tun_has_errors_about_the_tunnel_taken() -> None:
    assert _ways(_config("tun")) == {"tunnel_ends": {DIP}}


def test_a_tunnel_without_a_route_begins_nowhere() -> None:
    assert _ways(_config("tun"), None) == {}


def test_fullnat_has_replies_to_its_local_addresses_taken() -> None:
    config = _config("fullnat", local_addresses=["10.0.0.2"])
    assert _ways(config) == {"fullnat_servers": {(RIP, TCP, 80)}, "local_addresses": {LIP}}


def test_a_key_exchange_takes_ipsec_with_it() -> None:
    assert _ways(_config("nat", "udp", 500)) == {
        "servers": {(RIP, UDP, 500)},
        "ipsec": {VIP},
        "ipsec_servers": {RIP},
    }
    assert _ways(_config("dr", "udp", 500)) == {"ipsec": {VIP}}


def test_a_vip_is_forwarded_to_if_it_is_the_real_server_of_another_service() -> None:
    director = assemble(_config("nat"), 0.0)
    director.apply([AddService(ServiceConfig(ServiceKey(TCP, RIP, 81)))], 0.0)
    assert diverted(director.services).not_forwarded == {VIP}


def test_a_mark_has_no_vip_that_could_be_forwarded_to() -> None:
    director = assemble(_config("nat"), 0.0)
    director.apply([AddService(ServiceConfig(ServiceKey(fwmark=7)))], 0.0)
    assert diverted(director.services).not_forwarded == {VIP}


@pytest.mark.parametrize(
    ("forward", "keys", "families"),
    [
        ("nat", {}, {4}),
        ("nat", {"server": []}, {4}),
        ("dr", {}, set()),
        ("dr", {"server": []}, set()),
        ("tun", {}, set()),
        ("fullnat", {"local_addresses": ["10.0.0.2"]}, set()),
        ("dr", {"server": [{"address": "10.0.0.11:80", "forward": "nat"}]}, {4}),
    ],
)
def test_the_kernel_has_to_forward_for_nat_only(
    forward: str, keys: dict[str, Any], families: set[int]
) -> None:
    assert forwarded(_config(forward, **keys)) == families


def test_a_director_knows_the_ports_of_its_tunnels() -> None:
    config = _config("tun", tunnel="gue", tunnel_port=6080)
    assert assemble(config, 0.0).network.tunnel_ports == {6080}
    assert assemble(_config("tun"), 0.0).network.tunnel_ports == frozenset()


def test_a_director_on_paper_has_the_weights_that_are_written() -> None:
    config = _config("nat", slow_start_s=30, scheduler="wlc")
    (service,) = assemble(config, 0.0).services
    assert [(each.weight, each.config.weight) for each in service.servers] == [(1, 1)]
    added = [each for each in commands(config) if isinstance(each, AddService)]
    assert [each.config.slow_start_s for each in added] == [30]


def test_a_service_gets_its_pool_of_local_ports() -> None:
    config = _config("fullnat", local_addresses=["10.0.0.2"], local_ports="5000-5001")
    (service,) = assemble(config, 0.0).services
    assert service.config.local == ((LIP,), 5000, 5001)


def test_the_ranges_of_local_ports_are_those_of_services_with_fullnat() -> None:
    config = _config("fullnat", local_addresses=["10.0.0.2"], local_ports="5000-5001")
    assert local_ranges(config) == {(5000, 5001)}
    assert local_ranges(_config("nat")) == set()
