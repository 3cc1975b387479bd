"""Whatever supervisor and engine say to each other gets through the wire."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest

from forwarders import FORWARDERS
from lvsd.core import commands
from lvsd.core.values import ServiceConfig, ServiceKey
from lvsd.engine import messages
from lvsd.engine.messages import TO_ENGINE, TO_SUPERVISOR, TOGETHER, parts


@pytest.mark.parametrize("kind", get_args(commands.Command), ids=lambda kind: kind.__name__)
def test_every_command_may_be_sent_to_an_engine(kind: type) -> None:
    assert kind in TO_ENGINE


@pytest.mark.parametrize("kind", FORWARDERS.values(), ids=lambda kind: kind.__name__)
def test_every_forwarder_may_be_sent_to_an_engine_and_comes_out_as_it_went_in(kind: type) -> None:
    assert kind in TO_ENGINE
    assert pickle.loads(pickle.dumps(kind())) == kind()  # noqa: S301 - it is our own


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
