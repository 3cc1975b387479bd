"""What is asked for while an engine has not read what the one before it knew."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.control.protocol import Code
from lvsd.errors import ControlError
from lvsd.lab import Lab, programs
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED
from tests.netns.modes.test_connections_go_on import WEB, config, serving
from tests.netns.traffic.site import FAMILIES, of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab.programs import Daemon

ENDS = ("the engine is killed", "it is upgraded")
HELD = 3
"""Connections of each family that stay open."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have a real server."""
    with Lab(name="lvsd-meanwhile", ways=["nat"]) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[MAPPED])
        yield lab


def asked(daemon: Daemon, method: str, **params: Any) -> Any:
    """Return an answer, however often lvsd says that one should ask again."""
    answers: list[Any] = []

    def answered() -> bool:
        try:
            with ControlClient(daemon.control) as client:
                answers.append(client.call(method, **params))
        except ControlError as error:
            if error.code != Code.BUSY and "hung up" not in str(error):
                raise
        return bool(answers)

    assert until(answered)
    return answers[0]


def changing(lab: Lab, command: str) -> list[dict[str, object]]:
    """Return the commands that add or remove the only server of both services."""
    return [
        {
            "command": command,
            "service": {"protocol": "tcp", "address": of(lab.vip, family), "port": WEB},
            "server": {"address": of(lab.servers[0].addresses, family), "port": MAPPED},
        }
        for family in FAMILIES
    ]


@pytest.mark.parametrize("is_seen_before", [False, True], ids=["at once", "after a look"])
@pytest.mark.parametrize("end", ENDS)
def test_servers_removed_right_after_an_engine_ended_keep_their_connections(
    lab: Lab, end: str, *, is_seen_before: bool
) -> None:
    with serving(lab, config(lab, "nat", local=True)) as daemon:
        visitors = [Visitor(lab.client, of(lab.vip, family), WEB) for family in FAMILIES]
        addresses = [of(lab.client.addresses, family) for family in FAMILIES]
        pairs = [*zip(visitors, addresses, strict=True)] * HELD
        held = [visitor.open(address) for visitor, address in pairs]
        if end == ENDS[0]:
            os.kill(daemon.engine, signal.SIGKILL)
        else:
            upgrade = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
            lab.director.spawn(upgrade)
            assert until(lambda: '"event": "upgrading"' in daemon.log)
        if is_seen_before:
            listed = asked(daemon, "list")
            assert sum(each["servers"][0]["active"] for each in listed) == len(held)
        asked(daemon, "change", commands=changing(lab, "remove_server"))
        assert len(asked(daemon, "connections")) == len(held)
        assert [each["servers"] for each in asked(daemon, "list")] == [[], []]
        asked(daemon, "change", commands=changing(lab, "add_server"))
        for each in held:
            assert each.ask_again() == each.answer.server
            each.close()
        assert "were dropped" not in daemon.log
