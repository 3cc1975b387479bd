"""What clients ask for waits until an engine has read what the one before it knew."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.peers import Peer
from lvsd.core.commands import EditServer
from lvsd.core.wanted import Wanted
from lvsd.errors import BusyError
from lvsd.supervisor import gate as gate_module
from lvsd.supervisor.desk import Desk, Method, behind, methods
from lvsd.supervisor.door import Door
from lvsd.supervisor.gate import Gate, turn_away
from tests.unit.supervisor.test_conversation import (
    RIP,
    WEB,
    asked,
    begun,
    run,
    server,
    wanted,
    weights,
)
from tests.unit.supervisor.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.core.commands import Change, Command
    from lvsd.supervisor.conversation import Conversation
    from tests.unit.supervisor.test_conversation import Owner

ROOT = Peer(1, 0, frozenset())
EDIT = {
    "command": "edit_server",
    "service": {"protocol": "tcp", "address": "192.0.2.10", "port": 80},
    "server": {"address": "10.0.0.11", "port": 80, "weight": 7},
}


async def nothing_first(_: Sequence[Change]) -> Sequence[Command]:
    """Prepare nothing."""
    return ()


async def held_back(talk: Conversation, owner: Owner) -> Wanted:
    """Have an engine that has all its services, and has not been told to start."""
    have = Wanted((0, 0, 0))
    await talk.open()
    talk.configure(have, wanted())
    await talk.settled()
    assert owner.diverted
    return have


async def still_waits(owner: Owner, *tasks: asyncio.Task[Any]) -> bool:
    """Whether tasks are not done although the engine goes on."""
    beats = owner.beats
    await until(lambda: owner.beats > beats + 3)
    return not any(each.done() for each in tasks)


def the_desk(talk: Conversation, have: Wanted) -> Desk:
    """Return who answers clients."""
    return Desk(talk.ask, methods(Door(have, nothing_first, talk.apply)))


async def answer(desk: Desk, method: str, **params: object) -> dict[str, Any]:
    """Return the last line that answers a client."""
    line = json.dumps({"method": method, "params": params}).encode()
    lines = [json.loads(each) async for each in desk.ask(line, ROOT)]
    found: dict[str, Any] = lines[-1]
    return found


@pytest.mark.parametrize("method", ["connections", "list", "status", "zero"])
def test_a_question_waits_until_the_engine_takes_packets(method: str) -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        desk = the_desk(talk, await held_back(talk, owner))
        question = asyncio.create_task(answer(desk, method))
        assert await still_waits(owner, question)
        talk.start()
        assert "result" in await question

    run(scenario)


def test_a_change_waits_until_the_engine_takes_packets() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        have = await held_back(talk, owner)
        desk = the_desk(talk, have)
        change = asyncio.create_task(answer(desk, "change", commands=[EDIT]))
        assert await still_waits(owner, change)
        assert have.services[WEB].servers[RIP, 80].weight == 1
        talk.start()
        assert len((await change)["result"]["changes"]) == 1
        assert await weights(talk) == [7]

    run(scenario)


def test_who_asks_after_an_engine_ended_is_answered_by_the_next_one_once_that_has_started() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await begun(talk)
        first = talk.working
        os.kill(first.process, signal.SIGKILL)
        await until(lambda: not talk.gate.is_open)
        question = asyncio.create_task(weights(talk))
        change = asyncio.create_task(talk.apply([EditServer(WEB, server(RIP, weight=5))]))
        await asyncio.wait([question, change])
        assert talk.gate.is_open
        assert talk.working is not first
        assert len(question.result()) == 1
        change.result()
        assert await weights(talk) == [5]

    run(scenario)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "PATIENCE_S", 0.05)

    async def scenario(talk: Conversation, owner: Owner) -> None:
        have = await held_back(talk, owner)
        desk = the_desk(talk, have)
        for told in (
            await answer(desk, "list"),
            await answer(desk, "change", commands=[EDIT]),
        ):
            assert told["error"]["code"] == "busy"
            assert "ask again" in told["error"]["message"]
        assert have.services[WEB].servers[RIP, 80].weight == 1
        talk.start()
        await talk.started()
        assert await weights(talk) == [1]

    run(scenario)


def test_nothing_keeps_the_door_shut_after_a_change_that_waited_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_module, "PATIENCE_S", 0.05)

    async def scenario(talk: Conversation, owner: Owner) -> None:
        door = Door(await held_back(talk, owner), nothing_first, talk.apply)
        change = asyncio.create_task(door.change([EditServer(WEB, server(RIP, weight=5))], "me"))
        await until(lambda: door.tried == 1)
        async with door.still():
            pass
        with pytest.raises(BusyError):
            await change

    run(scenario)


def test_who_waits_for_a_start_that_fails_is_answered_before_lvsd_hangs_up() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        desk = the_desk(talk, await held_back(talk, owner))
        asking = [
            asyncio.create_task(answer(desk, "list")),
            asyncio.create_task(answer(desk, "change", commands=[EDIT])),
            asyncio.create_task(answer(desk, "change", commands=[EDIT])),
        ]
        assert await still_waits(owner, *asking)

        class Control:
            @property
            def busy(self) -> int:
                """How many are owed an answer."""
                return sum(not each.done() for each in asking)

        await turn_away([talk.gate], Control(), SimpleNamespace(listeners=0))  # type: ignore[arg-type]
        for each in asking:
            error = each.result()["error"]
            assert (error["code"], error["message"]) == ("busy", gate_module.ENDS)
        talk.start()
        await talk.started()
        assert "error" in (await asked(talk, "list"))[0]

    run(scenario)


def test_what_changes_something_waits_behind_a_gate_and_what_reads_does_not() -> None:
    async def told(_: object, __: Peer) -> object:
        return "done"

    async def scenario() -> None:
        gate = Gate("lvsd is starting: ask again")
        both = behind(gate, {"reload": Method(told), "running": Method(told, changes=False)})
        assert await both["running"].run({}, ROOT) == "done"
        reload = asyncio.ensure_future(both["reload"].run({}, ROOT))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reload.done()
        gate.open()
        assert await reload == "done"

    asyncio.run(scenario())
