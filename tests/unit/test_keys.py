"""Each thing that a service or a real server may be told, followed through every place."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from forwarders import FORWARDERS, Fullnat
from forwarders.fullnat import ClientAddress
from forwarders.plan import TunnelKind
from lvsd import keys
from lvsd.config import model
from lvsd.config.plugins import make_scheduler
from lvsd.config.shape import fields_of
from lvsd.config.writing import WAY
from lvsd.control import options
from lvsd.control.changes import written_server, written_service
from lvsd.control.describe import service_entry
from lvsd.control.names import Names
from lvsd.control.protocol import ServerEntry, ServiceEntry
from lvsd.control.requests import read_commands
from lvsd.control.saving import read, saved
from lvsd.control.usage import USAGE
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.documents import server_table, service_table
from lvsd.keys import Key, Kind, plain
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

VIRTUAL = ServiceKey(17, pack("192.0.2.10"), 53)
SERVICE = {"protocol": "udp", "address": "192.0.2.10", "port": 53}
SERVER = {"address": "10.0.0.11", "port": 5353}
TIMEOUTS: Any = {"tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}

OTHERS: dict[str, Any] = {"scheduler": "sh", "tunnel": "gre", "toa_kind": 253}
BESIDE: dict[str, dict[str, Any]] = {
    "flags": {"scheduler": "sh"},
    "prefix": {"persistence_s": 60},
    "tunnel_port": {"tunnel": "gue"},
    "tunnel_checksum": {"tunnel": "gre"},
}
"""What else has to be said with a key."""

OF_KIND: dict[Kind, Any] = {
    Kind.NUMBER: 7,
    Kind.SECONDS: 30,
    Kind.LENGTH: 24,
    Kind.SWITCH: True,
    Kind.TEXT: "the shop's",
    Kind.FLAGS: frozenset({"sh-port"}),
    Kind.CHOICE: "proxy-v2",
    Kind.ADDRESSES: (pack("10.0.1.5"), pack("10.0.1.6")),
    Kind.PORTS: (2000, 3000),
}
"""A value that is not the default."""


def other(key: Key) -> Any:
    return OTHERS.get(key.word, OF_KIND[key.kind])


def done(*commands: dict[str, Any]) -> tuple[ServiceConfig, ServerConfig | None]:
    """Return what commands of the protocol ask for: a service, and a real server if any."""
    service = server = None
    for command in read_commands({"commands": [*commands]}):
        match command:
            case AddService(config):
                service = config
            case AddServer(_, config):
                server = config
    assert service is not None
    return service, server


def listed(service: ServiceConfig, *servers: ServerConfig) -> ServiceEntry:
    balancer = Balancer(make_scheduler)
    added = [AddServer(service.key, each) for each in servers]
    balancer.apply([AddService(service), *added], 0.0)
    return service_entry(balancer.services.get(service.key), 0.0)


def typed(entry: ServiceEntry) -> list[dict[str, Any]]:
    """Return what the commands ask for that lvsadm -S writes of a service."""
    changes, _ = read(saved([entry], TIMEOUTS, Names(numeric=True), sort=True))
    return changes


@pytest.mark.parametrize("key", keys.SERVICE, ids=lambda each: each.word)
def test_a_key_of_a_service_is_asked_for_listed_told_and_saved_under_its_names(key: Key) -> None:
    value = other(key)
    said = SERVICE | BESIDE.get(key.word, {}) | {key.word: plain(value)}
    wanted, _ = done({"command": "add_service", "service": said})
    assert key.of(wanted) == value != key.default
    assert written_service(wanted)[key.word] == plain(value)

    entry = listed(wanted)
    assert dict(entry)[key.word] == plain(value)
    again, _ = done(*typed(entry))
    assert again == wanted

    written = service_table(wanted, ())[key.key]
    assert written == ("2000-3000" if key.kind is Kind.PORTS else plain(value))
    field = fields_of(model.Service)[key.key]
    assert getattr(model.Service(**{"name": "x", field.name: value}), key.key) == value


@pytest.mark.parametrize(
    ("way", "key"),
    [
        *(("nat", key) for key in keys.SERVER),
        *((way, key) for way, own in keys.FORWARDING.items() for key in own),
    ],
    ids=lambda each: each if isinstance(each, str) else each.word,
)
def test_a_key_of_a_server_is_asked_for_listed_told_and_saved_under_its_names(
    way: str, key: Key
) -> None:
    value = other(key)
    said = SERVER | {"forward": way} | BESIDE.get(key.word, {}) | {key.word: value}
    service = {"command": "add_service", "service": SERVICE}
    add = {"command": "add_server", "service": SERVICE, "server": said}
    config, wanted = done(service, add)
    assert wanted is not None
    assert key.of(wanted if key in keys.SERVER else wanted.forwarder) == value != key.default
    assert written_server(wanted)[key.word] == value

    entry = listed(config, wanted)
    assert dict(entry["servers"][0])[key.word] == value
    _, again = done(*typed(entry))
    assert again is not None
    assert (again.forwarder, again.weight) == (wanted.forwarder, wanted.weight)
    assert (again.upper, again.lower) == (wanted.upper, wanted.lower)

    assert server_table(wanted)[key.key] == value
    assert key.key in fields_of(model.Server)


@pytest.mark.parametrize(
    ("way", "key"),
    [
        (way, key)
        for way, own in {"nat": keys.SERVER, **keys.FORWARDING}.items()
        for key in own
        if key.kind is Kind.NUMBER
    ],
    ids=lambda each: each if isinstance(each, str) else each.word,
)
def test_the_largest_number_of_a_server_is_the_same_wherever_it_is_told(way: str, key: Key) -> None:
    largest = key.allowed[-1]
    beside = {"upper": largest} if key.word == "lower" else BESIDE.get(key.word, {})
    said = SERVER | {"forward": way} | beside | {key.word: largest}
    service = {"command": "add_service", "service": SERVICE}
    add = {"command": "add_server", "service": SERVICE, "server": said}
    config, wanted = done(service, add)
    assert wanted is not None
    _, again = done(*typed(listed(config, wanted)))
    assert again is not None
    assert key.of(again if key in keys.SERVER else again.forwarder) == largest
    read_toml = fields_of(model.Server)[key.key].metadata["reader"]
    assert read_toml(largest) == largest

    with pytest.raises(ValueError, match="is no number that it can be"):
        done(service, {**add, "server": said | {key.word: largest + 1}})
    with pytest.raises(ValueError, match="too large"):
        read_toml(largest + 1)


@pytest.mark.parametrize(
    "key",
    [*keys.SERVICE, *keys.SERVER, *keys.TUNNEL, *keys.FULLNAT],
    ids=lambda each: each.word,
)
def test_the_help_names_the_option_of_each_key(key: Key) -> None:
    assert f"--{key.option}" in USAGE.replace(",", " ").split()


def names(known: Iterable[Key]) -> set[str]:
    """Return the fields of a value that keys are about."""
    return {each.at.partition(".")[0] for each in known}


def test_each_field_of_the_cores_values_has_its_keys() -> None:
    assert {each.name for each in fields(ServiceConfig)} - {"key"} == names(keys.SERVICE)
    of_server = {each.name for each in fields(ServerConfig)}
    assert of_server - {"address", "port", "forwarder"} == names(keys.SERVER)
    for name, forwarder in FORWARDERS.items():
        own = {each.name for each in fields(forwarder)} if name in keys.FORWARDING else set()
        assert own == names(keys.FORWARDING.get(name, ()))


def test_each_key_of_the_configuration_is_in_the_table_or_is_no_option() -> None:
    way = {"forward", *(each.key for own in keys.FORWARDING.values() for each in own)}
    identity = {"address", "fwmark", "family", "protocol"}
    service = {each.key for each in keys.SERVICE}
    assert set(fields_of(model.Service)) == service | way | identity | {
        "interface",
        "check",
        "server",
    }
    of_server = {each.key for each in keys.SERVER} | way
    assert set(fields_of(model.Server)) == of_server | {"address", "backup", "check"}
    assert set(WAY) == way


def test_a_listing_has_each_key() -> None:
    service, server = get_type_hints(ServiceEntry), get_type_hints(ServerEntry)
    assert {each.word for each in keys.SERVICE} <= service.keys()
    assert {each.word for each in (*keys.SERVER, *keys.TUNNEL, *keys.FULLNAT)} <= server.keys()


def test_the_defaults_are_those_of_the_core() -> None:
    service = ServiceConfig(VIRTUAL)
    server = ServerConfig(b"\x0a\0\0\1", 80, Fullnat())
    assert [each.of(service) for each in keys.SERVICE] == [each.default for each in keys.SERVICE]
    assert [each.of(server) for each in keys.SERVER] == [each.default for each in keys.SERVER]
    for name, own in keys.FORWARDING.items():
        forwarder = FORWARDERS[name]()
        assert [each.of(forwarder) for each in own] == [each.default for each in own]
    assert keys.TUNNEL[0].allowed == get_args(TunnelKind)
    assert keys.FULLNAT[0].allowed == get_args(ClientAddress)
    assert keys.MAX_S == model.MAX_TIMEOUT_S


def test_a_service_of_defaults_is_saved_in_the_fewest_words() -> None:
    assert [*saved([listed(ServiceConfig(VIRTUAL))], TIMEOUTS, Names(numeric=True), sort=True)] == [
        "-A -u 192.0.2.10:53 -s wlc"
    ]
    assert options.parse(["-A", "-u", "192.0.2.10:53"]).changes[0]["service"]["scheduler"] == "wlc"
