"""What the control socket tells of each way of forwarding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.control.describe import connection_entry, service_entry
from lvsd.control.protocol import ConnectionEntry, ServerEntry, ServiceEntry
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService, Drain, SetHealth, Undrain
from lvsd.core.listing import Row
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.packet.address import pack
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from forwarders.base import Forwarder

KEY = ServiceKey(TCP, pack("192.0.2.10"), 80)
PAGE = (Path(__file__).parents[3] / "docs" / "lvsadm.md").read_text()
ENTRIES = {
    "service": ServiceEntry.__annotations__,
    "server": ServerEntry.__annotations__,
    "connection": ConnectionEntry.__annotations__,
}
KEYS = ("forward", "label", "tunnel", "tunnel_port", "tunnel_checksum")


def described(forwarder: Forwarder, *, is_local: bool = False) -> tuple[object, ...]:
    """Return what is told of the forwarder of a service's only server."""
    balancer = Balancer(make_scheduler)
    server = ServerConfig(pack("10.0.0.11"), 80, forwarder)
    balancer.apply([AddService(ServiceConfig(KEY)), AddServer(KEY, server)], 0.0)
    service = balancer.services.get(KEY)
    service.servers[0].set_way(Way(is_local=is_local))
    [entry] = service_entry(service, 0.0)["servers"]
    told = dict(entry)
    return tuple(told[key] for key in KEYS)


@pytest.mark.parametrize(
    ("forwarder", "expected"),
    [
        (Nat(), ("nat", "Masq", "", 0, False)),
        (Dr(), ("dr", "Route", "", 0, False)),
        (Tun(), ("tun", "Tunnel", "ipip", 0, False)),
        (Tun("gue", 6080, True), ("tun", "Tunnel", "gue", 6080, True)),
        (Tun("gre"), ("tun", "Tunnel", "gre", 0, False)),
        (Fullnat(), ("fullnat", "FullNat", "", 0, False)),
    ],
)
def test_a_server_has_its_mode_its_label_and_its_tunnel(
    forwarder: Forwarder, expected: tuple[object, ...]
) -> None:
    assert described(forwarder) == expected


@pytest.mark.parametrize(
    ("forwarder", "expected"),
    [
        (Nat(), ("nat", "Masq", "", 0, False)),
        (Dr(), ("dr", "Local", "", 0, False)),
        (Tun("gue", 6080), ("tun", "Local", "gue", 6080, False)),
        (Fullnat(), ("fullnat", "FullNat", "", 0, False)),
    ],
)
def test_a_server_that_is_the_director_keeps_the_mode_that_was_configured(
    forwarder: Forwarder, expected: tuple[object, ...]
) -> None:
    assert described(forwarder, is_local=True) == expected


def test_a_service_has_its_local_addresses() -> None:
    pool = LocalPool((pack("10.0.1.5"), pack("10.0.1.6")))
    balancer = Balancer(make_scheduler)
    balancer.apply([AddService(ServiceConfig(KEY, local=pool))], 0.0)
    entry = service_entry(balancer.services.get(KEY), 0.0)
    assert entry["local_addresses"] == ["10.0.1.5", "10.0.1.6"]


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (None, ("", 0)),
        ((pack("10.0.1.5"), 1025), ("10.0.1.5", 1025)),
        ((pack("2001:db8:1::5"), 65535), ("2001:db8:1::5", 65535)),
    ],
)
def test_a_connection_has_the_directors_end_towards_the_server(
    local: tuple[bytes, int] | None, expected: tuple[str, int]
) -> None:
    client, vip, rip = map(pack, ("198.51.100.7", "192.0.2.10", "10.0.0.11"))
    row = Row(TCP, client, 40000, vip, 80, rip, 8080, "ESTABLISHED", 1900.0, local=local)
    entry = connection_entry(row, 1000.0)
    assert (entry["local"], entry["local_port"]) == expected
    assert (entry["server"], entry["server_port"]) == ("10.0.0.11", 8080)


def entry_of(balancer: Balancer, now: float) -> ServerEntry:
    """Return what is told of the newest server of the only service."""
    return service_entry(balancer.services.get(KEY), now)["servers"][0]


def slowly(scheduler: str) -> Balancer:
    """Return a balancer with a server that is there, and one that begins slowly."""
    balancer = Balancer(make_scheduler)
    balancer.apply([AddService(ServiceConfig(KEY, scheduler, slow_start_s=60))], 0.0)
    for number in (11, 12):
        server = ServerConfig(pack(f"10.0.0.{number}"), 80, Nat(), weight=4)
        balancer.apply([AddServer(KEY, server)], 0.0)
    return balancer


@pytest.mark.parametrize("scheduler", ["wlc", "wrr", "lblc"])
def test_a_server_that_begins_slowly_has_its_weight_and_what_it_has_of_it(scheduler: str) -> None:
    balancer = slowly(scheduler)
    balancer.tick(30.0)
    entry = entry_of(balancer, 30.0)
    assert (entry["weight"], entry["effective_weight"]) == (4, 2.0)
    assert entry["slow_start"] == {"percent": 50, "left_s": 30}
    balancer.tick(60.0)
    entry = entry_of(balancer, 60.0)
    assert (entry["weight"], entry["effective_weight"]) == (4, 4.0)
    assert entry["slow_start"] is None
    assert service_entry(balancer.services.get(KEY), 0.0)["slow_start_s"] == 60


def test_a_drained_server_has_its_weight_its_deadline_and_whether_it_is_empty() -> None:
    balancer = slowly("wlc")
    place = KEY, pack("10.0.0.12"), 80
    balancer.apply([Drain(*place, 60)], 0.0)
    entry = entry_of(balancer, 0.5)
    assert (entry["weight"], entry["effective_weight"], entry["slow_start"]) == (4, 0.0, None)
    assert entry["drain"] == {"left_s": 60, "empty": False, "cut": 0}
    balancer.tick(2.0)
    assert entry_of(balancer, 2.0)["drain"] == {"left_s": 58, "empty": True, "cut": 0}
    balancer.apply([Drain(*place)], 3.0)
    assert entry_of(balancer, 3.0)["drain"] == {"left_s": None, "empty": False, "cut": 0}
    balancer.apply([Undrain(*place)], 3.0)
    assert entry_of(balancer, 3.0)["drain"] is None


@pytest.mark.parametrize("health", Health)
def test_a_server_has_its_health_and_weight_only_while_it_is_up(health: Health) -> None:
    balancer = slowly("rr")
    balancer.tick(60.0)
    balancer.apply([SetHealth(KEY, pack("10.0.0.12"), 80, health)], 60.0)
    entry = entry_of(balancer, 60.0)
    assert entry["health"] == health.value
    assert (entry["weight"], entry["effective_weight"]) == (4, 4 * (health is Health.UP))


@pytest.mark.parametrize("now", [0.0, 4.001, 6.036, 86401.7])
def test_what_has_just_begun_has_its_whole_time_left_and_no_second_more(now: float) -> None:
    balancer = Balancer(make_scheduler)
    balancer.apply([AddService(ServiceConfig(KEY, "wlc", slow_start_s=60))], now)
    for number in (11, 12):
        server = ServerConfig(pack(f"10.0.0.{number}"), 80, Nat())
        balancer.apply([AddServer(KEY, server)], now)
    balancer.tick(now)
    start = entry_of(balancer, now)["slow_start"]
    balancer.apply([Drain(KEY, pack("10.0.0.12"), 80, 60)], now)
    drain = entry_of(balancer, now)["drain"]
    assert start is not None
    assert drain is not None
    assert (start["left_s"], drain["left_s"]) == (60, 60)


def test_the_page_on_lvsadm_names_keys_that_entries_have() -> None:
    section = PAGE.partition("\n## JSON\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ?(\w*) \| (`[^|]+) \|", section, re.MULTILINE)
    entry = ""
    unknown = []
    for word, keys in rows:
        entry = word or entry
        unknown += [key for key in re.findall(r"`(\w+)`", keys) if key not in ENTRIES[entry]]
    assert len(rows) == 18
    assert unknown == []
