"""What one lvsd leaves to the next: nothing is lost in it, and nothing else is taken for it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Fullnat, Nat
from lvsd.assembly import nothing_of, wanted_of
from lvsd.config.load import load
from lvsd.core.commands import (
    AddServer,
    AddService,
    Drain,
    EditService,
    RemoveServer,
    SetHealth,
    SetTimeouts,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey
from lvsd.documents import whole
from lvsd.packet.address import pack
from lvsd.packet.view import TCP
from lvsd.supervisor import handover
from lvsd.supervisor.handover import HandoverError

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.config import model
    from lvsd.core.commands import Command
    from lvsd.core.wanted import Wanted

TEXT = """
[daemon]
queue = 7
max_connections = 5000
[sysctl]
expire_nodest_conn = true
[timeouts]
udp_s = 60
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
scheduler = "wrr"
interface = "lo"
[[service.server]]
address = "10.0.0.11:8080"
weight = 3
[[service.server]]
address = "10.0.0.12:80"
forward = "tun"
tunnel = "gue"
tunnel_port = 5555
[[service]]
name = "marked"
fwmark = 7
family = 6
scheduler = "mh"
scheduler_flags = ["mh-port"]
persistence_s = 300
persistence_netmask = 64
"""
DRAIN = {
    "command": "drain",
    "service": {"fwmark": 7},
    "server": {"address": "10.0.0.1", "port": 80},
}
UNWELL = {key: DRAIN[key] for key in ("service", "server")}
WEB = ServiceKey(TCP, pack("192.0.2.10"), 80)
FIRST = pack("10.0.0.11")
CHANGES: list[Command] = [
    EditService(ServiceConfig(WEB, "wrr", name='a "name"', mss_clamp=True)),
    AddServer(WEB, ServerConfig(pack("127.0.0.1"), 80, Dr(), weight=0)),  # in no configuration
    RemoveServer(WEB, FIRST, 8080),
    AddServer(WEB, ServerConfig(FIRST, 8080, Nat(), weight=9, upper=5, lower=2)),
    AddService(
        ServiceConfig(
            ServiceKey(TCP, pack("2001:db8::1"), 443, family=6),
            local=LocalPool((pack("2001:db8::2"),), 2000, 3000),
            persistence_s=5,
        )
    ),
    AddServer(
        ServiceKey(TCP, pack("2001:db8::1"), 443, family=6),
        ServerConfig(pack("2001:db8::3"), 443, Fullnat("proxy-v2")),
    ),
    SetTimeouts(1000, 0, 0),
    Drain(WEB, FIRST, 8080, 600, 1234.5),
    Drain(WEB, pack("10.0.0.12"), 80, None, 77.0),
    SetHealth(WEB, FIRST, 8080, Health.REMOVED),
    SetHealth(WEB, pack("127.0.0.1"), 80, Health.STANDBY),
    SetHealth(WEB, FIRST, 8080, Health.QUIESCED),
]


@pytest.fixture
def config(tmp_path: Path) -> model.Config:
    file = tmp_path / "lvsd.toml"
    file.write_text(TEXT)
    return load(file)


def handed_over(wanted: Wanted, config: model.Config) -> handover.Handover:
    ports = {"kept": [(1, 2)], "given": [], "reserved": []}
    return handover.described(
        wanted, config, began=1.5, queue=8, ports=ports, counters={"reloads": {"done": 3}}
    )


@pytest.mark.parametrize("number", range(len(CHANGES) + 1))
def test_what_is_wanted_is_the_same_afterwards_to_the_order_of_servers(
    config: model.Config, number: int
) -> None:
    wanted = wanted_of(config)
    wanted.do(CHANGES[:number])
    given = handed_over(wanted, config)
    read = handover.read(handover.written(given))
    then, commands = handover.taken(read)
    found = nothing_of(then)
    assert list(found.beginning(commands)) == commands
    assert list(found.commands()) == list(wanted.commands())
    assert (found.settings, found.timeouts) == (wanted.settings, wanted.timeouts)
    assert (then.daemon, then.sysctl, then.timeouts) == (
        config.daemon,
        config.sysctl,
        config.timeouts,
    )
    assert whole(wanted_of(then), then) == whole(wanted_of(config), config)
    assert [each.interface for each in then.services] == ["lo", None]
    assert (read.began, read.queue, read.counters) == (1.5, 8, {"reloads": {"done": 3}})


def damaged(data: bytes, **words: Any) -> bytes:
    return json.dumps(json.loads(data) | words).encode()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-20], "no JSON, or cut off"),
        (lambda _: b"", "no JSON, or cut off"),
        (lambda _: b"\xff", "no JSON, or cut off"),
        (lambda _: b"[" * 100_000, "no JSON, or cut off"),
        (lambda _: b'{"a": 1}', "not lvsd's"),
        (lambda _: b"[]", "not lvsd's"),
        (lambda data: damaged(data, format=99, version="7"), "lvsd 7 hands over in another format"),
        (lambda data: damaged(data, state_format=[0, 0]), "does not read the connections of lvsd"),
        (lambda data: damaged(data, queue="8"), "lacks queue, or has something else there"),
        (lambda data: damaged(data, document=None), "lacks document"),
    ],
)
def test_what_is_cut_off_foreign_or_of_another_version_is_refused_with_a_reason(
    config: model.Config, damage: Any, why: str
) -> None:
    data = handover.written(handed_over(wanted_of(config), config))
    with pytest.raises(HandoverError, match=why):
        handover.read(damage(data))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"document": {"daemon": {"queue": -1}}}, "refuses the configuration in force: daemon"),
        ({"document": {"no_such_table": {}}}, "refuses the configuration in force"),
        ({"commands": [{"command": "no_such_command"}]}, "refuses what runs"),
        ({"commands": [1]}, "refuses what runs"),
        ({"drains": [[{"command": "clear"}, 1.0]]}, "refuses what runs"),
        ({"drains": [3]}, "refuses what runs"),
        ({"commands": [], "drains": [[DRAIN, 1.0]]}, "refuses what runs: No such service"),
        ({"health": [UNWELL | {"health": "ill"}]}, "runs: 'ill' is not a valid Health"),
        ({"health": [UNWELL]}, "refuses what runs: 'health'"),
        ({"health": [3]}, "refuses what runs"),
        ({"commands": [], "health": [UNWELL | {"health": "up"}]},
         "refuses what runs: No such service"),
        ({"commands": [{"command": "add_service", "service": {"fwmark": 3, "scheduler": "?"}}]},
         "refuses what runs: Scheduler or persistence engine not found"),
    ],
)  # fmt: skip
def test_what_this_version_does_not_allow_is_refused_with_a_reason(
    config: model.Config, words: dict[str, Any], why: str
) -> None:
    given = replace(handed_over(wanted_of(config), config), **words)
    with pytest.raises(HandoverError, match=why):
        handover.examine(handover.written(given))


def test_it_goes_from_one_program_to_the_next_with_descriptors_that_end_there(
    config: model.Config,
) -> None:
    ends = {word: os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for word in handover.ENDS}
    given = replace(handed_over(wanted_of(config), config), descriptors=ends, farewell="00ff")
    descriptor = handover.passed_on(given)
    try:
        assert os.get_inheritable(descriptor)
        assert {os.get_inheritable(each) for each in ends.values()} == {True}
        received = handover.received(str(descriptor))
        assert handover.written(received) == handover.written(given)
        assert {os.get_inheritable(each) for each in ends.values()} == {False}
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    finally:
        for each in ends.values():
            os.close(each)


@pytest.mark.parametrize("descriptor", ["", "x", "99999"])
def test_a_descriptor_that_is_none_is_refused_with_a_reason(descriptor: str) -> None:
    with pytest.raises(HandoverError, match="cannot be read"):
        handover.received(descriptor)


def test_what_lacks_a_descriptor_is_refused_with_a_reason(config: model.Config) -> None:
    given = replace(handed_over(wanted_of(config), config), descriptors={})
    with pytest.raises(HandoverError, match="descriptors are missing"):
        handover.received(str(handover.passed_on(given)))
