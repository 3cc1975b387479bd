"""Requests for changes become commands, and what was wrong in one is said where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.control.changes import (
    described,
    selector,
    written_change,
    written_server,
    written_service,
)
from lvsd.control.requests import read_commands
from lvsd.core.commands import (
    AddServer,
    AddService,
    Clear,
    Drain,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    ServerChange,
    ServiceChange,
    SetTimeouts,
    TimeoutsChange,
    Undrain,
    Zero,
    Zeroed,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from lvsd.core.commands import Command

WEB: Final = {"protocol": "tcp", "address": "192.0.2.1", "port": 80}
KEY: Final = ServiceKey(6, b"\xc0\x00\x02\x01", 80)
RIP: Final = b"\x0a\x00\x00\x01"

FULL: Final = ServiceConfig(
    ServiceKey(17, bytes(15) + b"\x01", 53, family=6),
    "sh",
    frozenset({"sh-port"}),
    "dns",
    persistence_s=60,
    prefix=64,
    one_packet=True,
    mss_clamp=True,
    max_connections=9,
    slow_start_s=8,
    local=LocalPool((bytes(15) + b"\x02",), 2000, 3000),
    timing=Timing(1, 2, 3),
)
SERVERS: Final = (
    ServerConfig(RIP, 8080, Nat(), 7, 20, 10),
    ServerConfig(RIP, 80, Dr()),
    ServerConfig(RIP, 80, Tun("gue", 6080, checksum=True)),
    ServerConfig(RIP, 80, Fullnat("proxy-v2")),
    ServerConfig(RIP, 80, Fullnat("toa", 200)),
)


def read(*commands: dict[str, Any]) -> list[Command]:
    return read_commands({"commands": list(commands)})


def test_each_command_is_read() -> None:
    place = {"address": "10.0.0.1", "port": 8080}
    assert read(
        {"command": "add_service", "service": WEB},
        {"command": "edit_service", "service": WEB | {"scheduler": "rr"}},
        {"command": "add_server", "service": WEB, "server": place},
        {"command": "edit_server", "service": WEB, "server": place | {"weight": 0}},
        {"command": "remove_server", "service": WEB, "server": place},
        {"command": "remove_service", "service": {"fwmark": 7, "family": 6}},
        {"command": "drain", "service": WEB, "server": place},
        {"command": "drain", "service": WEB, "server": place, "deadline_s": 0},
        {"command": "undrain", "service": WEB, "server": place},
        {"command": "set_timeouts", "udp_s": 5},
        {"command": "zero"},
        {"command": "zero", "service": WEB},
        {"command": "clear"},
    ) == [
        AddService(ServiceConfig(KEY)),
        EditService(ServiceConfig(KEY, "rr")),
        AddServer(KEY, ServerConfig(RIP, 8080, Nat())),
        EditServer(KEY, ServerConfig(RIP, 8080, Nat(), 0)),
        RemoveServer(KEY, RIP, 8080),
        RemoveService(ServiceKey(fwmark=7, family=6)),
        Drain(KEY, RIP, 8080),
        Drain(KEY, RIP, 8080, 0),
        Undrain(KEY, RIP, 8080),
        SetTimeouts(0, 0, 5),
        Zero(),
        Zero(KEY),
        Clear(),
    ]


def test_what_is_written_of_a_service_and_a_server_is_read_as_the_same() -> None:
    assert read({"command": "add_service", "service": written_service(FULL)}) == [AddService(FULL)]
    for each in SERVERS:
        found = read({"command": "add_server", "service": WEB, "server": written_server(each)})
        assert found == [AddServer(KEY, each)]


@pytest.mark.parametrize(
    ("command", "at"),
    [
        ({"command": "shut_down"}, "commands[0].command"),
        ({}, "commands[0].command"),
        ({"command": "clear", "service": WEB}, "commands[0].service: unknown"),
        ({"command": "set_health", "service": WEB, "health": "up"}, "commands[0].command:"),
        ({"command": "add_service"}, "commands[0].service"),
        ({"command": "add_service", "service": {"protocol": "tcp"}}, "commands[0].service: give"),
        ({"command": "add_service", "service": WEB | {"weight": 1}}, "commands[0].service.weight"),
        ({"command": "add_service", "service": WEB | {"flags": "x"}}, "commands[0].service.flags"),
        (
            {"command": "add_service", "service": WEB | {"local_ports": [9, 5]}},
            "commands[0].service.local_ports",
        ),
        *(
            (
                {"command": "add_service", "service": WEB | {"local_addresses": each}},
                "commands[0].service.local_addresses: ",
            )
            for each in (
                ["10.0.1.5", "10.0.1.5"],
                ["0.0.0.0"],  # noqa: S104 - refused
                ["224.0.0.1"],
                ["255.255.255.255"],
                ["240.0.0.1"],
                ["127.0.0.1"],
                ["169.254.0.1"],
                ["192.0.2.1"],
                ["::"],
                ["::1"],
                ["fe80::1"],
                ["ff02::1"],
                ["::ffff:10.0.1.5"],
            )
        ),
        (
            {"command": "add_service", "service": WEB | {"prefix": 24}},
            "commands[0].service.prefix: only with persistence_s",
        ),
        (
            {"command": "add_service", "service": WEB | {"name": "a\nb"}},
            "commands[0].service.name",
        ),
        (
            {"command": "add_server", "service": WEB, "server": {"address": "10.0.0"}},
            "commands[0].server.address",
        ),
        (
            {"command": "add_server", "service": WEB, "server": {"address": "::1", "weight": -1}},
            "commands[0].server.weight",
        ),
        (
            {"command": "add_server", "service": WEB, "server": {"address": "::1", "weight": True}},
            "commands[0].server.weight",
        ),
        (
            {
                "command": "add_server",
                "service": WEB,
                "server": {"address": "::1", "forward": "nat", "tunnel": "gre"},
            },
            "commands[0].server.tunnel: only with forward tun",
        ),
        (
            {
                "command": "add_server",
                "service": WEB,
                "server": {"address": "::1", "forward": "tun", "tunnel": "gue"},
            },
            "commands[0].server.tunnel_port",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_wrong_is_said_with_its_place(command: dict[str, Any], at: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is looked at
        read(command)
    assert str(caught.value).startswith(at)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"scheduler": "nonesuch"}, "Scheduler or persistence engine not found"),
        ({"scheduler": "rr", "flags": ["sh-port"]}, "scheduler rr has no flag sh-port"),
    ],
)
def test_a_scheduler_that_there_is_not_is_refused_in_the_kernels_words(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ControlError, match=why):
        read({"command": "add_service", "service": WEB | options})


@pytest.mark.parametrize("params", [{}, {"commands": {}}, {"commands": [1]}, {"command": "clear"}])
def test_no_list_of_commands_is_no_request(params: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="command"):
        read_commands(params)


def test_a_change_is_told_to_programs_and_to_people() -> None:
    before, after = ServerConfig(RIP, 80, Nat(), 1), ServerConfig(RIP, 80, Nat(), 5)
    edit = ServerChange(KEY, RIP, 80, before, after)
    assert written_change(edit) == {
        "change": "server_edited",
        "service": selector(KEY),
        "server": {"address": "10.0.0.1", "port": 80},
        "before": written_server(before),
        "after": written_server(after),
    }
    assert described(edit) == {
        "what": "server edited",
        "service": "tcp 192.0.2.1:80",
        "server": "10.0.0.1:80",
        "weight": "1 -> 5",
    }
    config = ServiceConfig(KEY, name="web")
    assert written_change(ServiceChange(KEY, None, config))["change"] == "service_added"
    assert described(ServiceChange(KEY, config, None)) == {
        "what": "service removed",
        "service": "tcp 192.0.2.1:80",
        "name": "web",
    }
    timeouts = TimeoutsChange((1, 2, 3), (1, 2, 9))
    assert written_change(timeouts)["after"] == [1, 2, 9]
    assert described(timeouts)["udp_s"] == 9
    assert described(Zeroed(None)) == {"what": "counters zeroed", "service": "all"}
