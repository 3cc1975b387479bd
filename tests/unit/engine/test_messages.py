"""Whatever supervisor and engine say to each other gets through the wire."""

from __future__ import annotations

import asyncio
import pickle
from socket import socketpair
from typing import get_args

import pytest

from forwarders import FORWARDERS
from lvsd.core import commands
from lvsd.core.values import Health, ServiceConfig, ServiceKey
from lvsd.engine import messages
from lvsd.engine.messages import TO_ENGINE, TO_SUPERVISOR, TOGETHER, parts
from lvsd.engine.wire import Wire


@pytest.mark.parametrize("kind", get_args(commands.Command), ids=lambda kind: kind.__name__)
def test_every_command_may_be_sent_to_an_engine(kind: type) -> None:
    assert kind in TO_ENGINE


@pytest.mark.parametrize("kind", FORWARDERS.values(), ids=lambda kind: kind.__name__)
def test_every_forwarder_may_be_sent_to_an_engine_and_comes_out_as_it_went_in(kind: type) -> None:
    assert kind in TO_ENGINE
    assert pickle.loads(pickle.dumps(kind())) == kind()  # noqa: S301 - it is our own


@pytest.mark.parametrize("health", Health)
def test_the_health_of_a_server_gets_through_as_the_same_object(health: Health) -> None:
    given = commands.SetHealth(ServiceKey(fwmark=7), b"1234", 80, health)
    here, there = socketpair()
    got: list[object] = []
    ended: list[object] = []
    loop = asyncio.new_event_loop()
    try:
        ends = [Wire(end, TO_ENGINE, got.append, ended.append) for end in (here, there)]
        for wire in ends:
            wire.start(loop)
        ends[0].send(given)
        while not got:
            loop.run_until_complete(asyncio.sleep(0.001))
        for wire in ends:
            wire.close()
    finally:
        loop.close()
    assert got == [given]
    assert isinstance(got[0], commands.SetHealth)
    assert got[0].health is health


def test_every_message_goes_one_way() -> None:
    own = {
        each
        for each in vars(messages).values()
        if isinstance(each, type) and each.__module__ == messages.__name__
    }
    both = [each for each in own if (each in TO_ENGINE) == (each in TO_SUPERVISOR)]
    assert both == []


@pytest.mark.parametrize("number", [0, 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER])
def test_a_list_of_commands_goes_in_parts_of_which_one_is_the_last(number: int) -> None:
    wanted = [
        commands.AddService(ServiceConfig(ServiceKey(fwmark=each + 1))) for each in range(number)
    ]
    sent = list(parts(7, wanted))
    assert [command for part in sent for command in part.commands] == wanted
    assert [part.is_last for part in sent] == [False] * (len(sent) - 1) + [True]
    assert max(len(part.commands) for part in sent) <= TOGETHER
