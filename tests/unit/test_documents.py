"""A document has all that is wanted: a key that somebody adds is not forgotten in it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Fullnat, Tun
from lvsd.assembly import server_config, wanted_of
from lvsd.config import model, toml
from lvsd.config.check_tables import Said, ServiceCheck
from lvsd.config.differences import LIVE, Difference, differences
from lvsd.config.load import validate
from lvsd.config.saving import checked_text
from lvsd.config.shape import fields_of
from lvsd.core.local_pool import LocalPool
from lvsd.core.settings import Settings
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.documents import server_table, service_table, tables, whole
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from forwarders.base import Forwarder

CHECKED = """
        [service.check]
        type = "http"
        path = "/health"
        status = [200, "300-399"]
        interval_s = 1.5
        fall = 2
        on_failure = "remove"
        quorum = 2
"""
HTTP = Said(ServiceCheck(type="http"), {})
OF_AN_ADDRESS = ServiceKey(6, pack("192.0.2.10"), 80)


def alike(one: Any, other: Any) -> list[str]:
    """Return the fields in which two values do not differ."""
    names = [each.name for each in fields(one)]
    return [name for name in names if getattr(one, name) == getattr(other, name)]


def test_every_value_of_a_service_is_a_key_of_the_document() -> None:
    full = ServiceConfig(
        OF_AN_ADDRESS,
        scheduler="sh",
        flags=frozenset({"sh-port"}),
        name="web",
        persistence_s=1,
        prefix=24,
        one_packet=True,
        mss_clamp=True,
        max_connections=1,
        local=LocalPool((pack("10.0.0.1"),), 5000, 5001),
        timing=Timing(1, 2, 3),
        slow_start_s=1,
    )
    default = ServiceConfig(full.key)
    same = [
        each.name
        for each in fields(full)
        if getattr(full, each.name) == getattr(default, each.name)
    ]
    assert same == ["key"]
    servers = [ServerConfig(pack("10.0.0.2"), 80, Tun())]
    entry = model.Service(name="web", interface="front", check=HTTP)
    marked = service_table(ServiceConfig(ServiceKey(fwmark=7, family=6)), servers)
    of_servers_way = {
        "forward",
        "tunnel",
        "tunnel_port",
        "tunnel_checksum",
        "client_address",
        "toa_kind",
    }
    table = service_table(full, servers, entry) | marked
    assert table.keys() == fields_of(model.Service).keys() - of_servers_way


def test_every_value_of_a_server_is_a_key_of_the_document() -> None:
    gue = ServerConfig(pack("10.0.0.2"), 80, Tun("gue", 6080, True), 2, 3, 1)
    default = ServerConfig(pack("10.0.0.3"), 81, Fullnat())
    assert not [
        each for each in fields(gue) if getattr(gue, each.name) == getattr(default, each.name)
    ]
    table = server_table(gue) | server_table(default)
    of_configuration = {"backup", "check"}
    assert table.keys() == fields_of(model.Server).keys() - of_configuration


def test_checks_are_saved_as_they_were_read() -> None:
    written = f"""
        [[service]]
        name = "web"
        address = "192.0.2.10:80"
        protocol = "tcp"
        {CHECKED}
        [[service.server]]
        address = "10.0.0.11:80"
        [service.server.check]
        type = "tcp"
        address = "10.0.0.99"
        port = 81
        [[service.server]]
        address = "10.0.0.12:80"
        check = {{ type = "none" }}
        [[service.server]]
        address = "10.0.0.13:80"
        backup = true
    """
    config, faults = validate(toml.loads(written))
    assert faults == []
    assert config is not None
    document = whole(wanted_of(config), config)
    saved = checked_text(document)
    again, faults = validate(toml.loads(saved))
    assert faults == []
    assert again is not None
    (before,), (after,) = config.services, again.services
    assert after.check == before.check
    assert [(each.check, each.backup) for each in after.servers] == [
        (each.check, each.backup) for each in before.servers
    ]
    assert checked_text(whole(wanted_of(again), again)) == saved


def test_a_key_of_a_check_that_differs_is_told_by_its_name() -> None:
    before = {"name": "web", "address": "192.0.2.10:80", "check": {"type": "http", "fall": 2}}
    after = before | {"check": {"type": "http", "path": "/health"}}
    found = differences({"service": [before]}, {"service": [after]})
    assert [each.text for each in found] == [
        'service web: check.path: none -> "/health"',
        "service web: check.fall: 2 -> none",
    ]


@pytest.mark.parametrize("forwarder", [Dr(), Tun()])
def test_a_servers_port_behind_a_mark_is_saved_as_lvsadm_took_it(forwarder: Forwarder) -> None:
    server = ServerConfig(pack("10.0.0.11"), 80, forwarder)
    document = {"service": [service_table(ServiceConfig(ServiceKey(fwmark=7)), [server])]}
    config, faults = validate(toml.loads(checked_text(document)))
    assert list(faults) == []
    assert config is not None
    (service,) = config.services
    assert [server_config(service, each) for each in service.servers] == [server]


def test_every_setting_is_a_key_of_the_document() -> None:
    config = model.Config()
    found = tables(wanted_of(config), config)
    assert list(found) == ["daemon", "sysctl", "timeouts"]
    assert found["daemon"].keys() == fields_of(model.Daemon).keys()
    assert found["sysctl"].keys() == fields_of(model.Sysctl).keys()
    assert found["timeouts"].keys() == fields_of(model.Timeouts).keys()
    words = {each.name for each in fields(Settings)}
    assert words <= found["daemon"].keys() | found["sysctl"].keys()


def test_every_setting_of_the_core_can_be_changed_while_lvsd_runs() -> None:
    live = {word for words in LIVE.values() for word in words}
    assert {each.name for each in fields(Settings)} <= live


def test_the_documentation_names_every_key_that_needs_a_restart() -> None:
    page = (Path(__file__).parents[2] / "docs" / "changing.md").read_text()
    rows = page.partition("### What needs a restart")[2].partition("\n### ")[0]
    keys = "".join(re.findall(r"^\| (`[^|]+) \|", rows, re.MULTILINE))
    fixed = {
        key
        for table, words in (("daemon", model.Daemon), ("sysctl", model.Sysctl))
        for key in fields_of(words)
        if Difference(table, "", "", key, True, False).needs_restart
    }
    assert set(re.findall(r"`(\w+)`", keys)) == fixed
