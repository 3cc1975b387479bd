"""What a real engine is told, and what it answers, without a queue and without packets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Nat
from lvsd.config.plugins import make_scheduler
from lvsd.core.commands import AddServer, AddService, Drain, EditServer, RemoveServer
from lvsd.core.drains import Emptied
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.wanted import Wanted
from lvsd.engine import engine, work
from lvsd.engine import settling as settling_module
from lvsd.engine.messages import TOGETHER, Begin
from lvsd.engine.traffic import Traffic
from lvsd.engine.work import Work
from lvsd.errors import ControlError, KernelError, PluginError
from lvsd.io.leads import Lead
from lvsd.packet.address import pack
from lvsd.packet.view import TCP
from lvsd.signals import StoppedError
from lvsd.supervisor import conversation as conversation_module
from lvsd.supervisor import engines as engines_module
from lvsd.supervisor.conversation import Conversation
from lvsd.supervisor.engines import EngineError, Engines
from lvsd.supervisor.forker import Forker
from lvsd.supervisor.host import Host
from tests.unit.supervisor.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from lvsd.core.commands import Command
    from lvsd.io.ruleset import Diverted

WEB = ServiceKey(TCP, pack("192.0.2.10"), 80)
RIP = pack("10.0.0.11")


def without_queue(end: socket.socket) -> int:
    """Be an engine that opens nothing."""
    Traffic.open = lambda self: None  # type: ignore[method-assign]  # noqa: ARG005
    Traffic.start = lambda *_: None  # type: ignore[method-assign]
    return engine.run(end, make_scheduler)


def failing_once(end: socket.socket) -> int:
    """Be an engine that fails when it works out what follows from the first change."""
    rightly, failures = settling_module.settling, iter([False, True])

    def settling(*given: Any, **named: Any) -> Iterator[None]:
        if next(failures, False):
            raise RuntimeError("it fails once")
        return rightly(*given, **named)

    work.settling = settling  # type: ignore[assignment,attr-defined]
    return without_queue(end)


def refusing(end: socket.socket) -> int:
    """Be an engine that cannot have its queue."""

    def refuse(_: Traffic) -> None:
        raise KernelError("take NFQUEUE 0", "it is taken", "give lvsd another queue number")

    Traffic.open = refuse  # type: ignore[assignment,method-assign]
    return engine.run(end, make_scheduler)


def hanging(_end: socket.socket) -> int:
    """Be an engine that hangs before it says anything."""
    time.sleep(3600)
    return 0


def without_memory(end: socket.socket) -> int:
    """Be an engine that has no memory for its services."""

    def fail(_: Work, _commands: object) -> None:
        raise MemoryError

    Work.applying = fail  # type: ignore[assignment,method-assign]
    return without_queue(end)


class Owner:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.talk: Conversation
        self.diverted: list[Diverted] = []
        self.asked: list[bytes] = []
        self.empty: list[Emptied] = []
        self.removed = frozenset[bytes]()
        self.beats = 0
        self.is_stopped = False

    def begin(self) -> Begin:
        """Begin with a queue that nobody opens."""
        return Begin(0, 4096, Settings(), NEW, (), 0.0, 0.02)

    def divert(self, _: Diverted | None) -> None:
        """Write down all of it."""
        self.diverted.append(self.talk.diverted)

    def left(self, addresses: frozenset[bytes]) -> None:
        """Write it down."""
        self.removed = addresses

    def ask(self, addresses: Iterable[bytes]) -> None:
        """Write it down."""
        self.asked.extend(addresses)

    def beat(self) -> None:
        """Count it."""
        self.beats += 1

    def emptied(self, server: Emptied) -> None:
        """Write it down."""
        self.empty.append(server)

    def check(self) -> None:
        """Have a start end when the test says so."""
        if self.is_stopped:
            raise StoppedError

    def counters(self) -> dict[str, dict[str, int]]:
        """Count something."""
        return {"outside": {"counted": 3}}


def wanted(servers: int = 1) -> list[Command]:
    """Return the commands for one service."""
    first = int.from_bytes(RIP, "big")
    addresses = [(first + number).to_bytes(4, "big") for number in range(servers)]
    service = ServiceConfig(WEB, "rr", name="web")
    return [AddService(service), *(AddServer(WEB, server(each)) for each in addresses)]


def server(address: bytes, **keys: Any) -> ServerConfig:
    """Return a real server."""
    return ServerConfig(address, 80, **{"forwarder": Nat()} | keys)


def run(
    scenario: Callable[[Conversation, Owner], Coroutine[Any, Any, None]],
    work: Callable[[socket.socket], int] = without_queue,
) -> None:
    """Run a scenario with a conversation that nothing was said in yet."""
    forker, owner = Forker(work), Owner()

    async def around() -> None:
        forker.start(asyncio.get_running_loop())
        talk = owner.talk = Conversation(forker, owner)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(talk, owner)
        finally:
            await talk.stop()
            forker.close()

    asyncio.run(around())


async def begun(talk: Conversation, servers: int = 1) -> None:
    """Start an engine that has one service."""
    await talk.open()
    talk.learned(Host({1: 1500}, frozenset({pack("10.0.0.1")}), {RIP: Way(1400, RIP)}))
    talk.configure(Wanted((0, 0, 0)), wanted(servers))
    talk.start()
    await talk.started()


async def asked(talk: Conversation, method: str) -> list[dict[str, Any]]:
    """Return the answers to a question."""
    line = json.dumps({"method": method}).encode()
    return [json.loads(each) async for each in talk.ask(line)]


async def weights(talk: Conversation) -> list[int]:
    """Return the weights of the first service's servers."""
    services = [each for answer in await asked(talk, "list") for each in answer["result"]]
    return [each["weight"] for each in services[0]["servers"]]


def test_an_engine_says_what_has_to_be_diverted_and_that_it_is_well() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk)
        assert owner.diverted[-1].endpoints == {(WEB.vip, TCP, 80)}
        assert owner.diverted[-1].servers == {(RIP, TCP, 80)}
        await until(lambda: owner.beats > 1)

    run(scenario)


def test_what_has_to_be_diverted_is_known_before_any_packet_is_taken() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await talk.open()
        talk.configure(Wanted((0, 0, 0)), wanted())
        await talk.settled()
        assert owner.diverted[-1].endpoints == {(WEB.vip, TCP, 80)}
        started = asyncio.ensure_future(talk.started())
        await until(lambda: owner.beats > 1)
        assert not started.done()
        talk.start()
        await started

    run(scenario)


def test_what_an_engine_has_settled_that_ended_since_is_waited_for_again() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await talk.open()
        talk.configure(Wanted((0, 0, 0)), wanted())
        await talk.settled()
        os.kill(talk.working.process, signal.SIGKILL)
        await until(lambda: talk.counters()["replaced"] == 1)
        assert not talk.diverted.endpoints
        await talk.settled()
        assert talk.diverted.endpoints == {(WEB.vip, TCP, 80)}
        talk.start()
        await talk.started()

    run(scenario)


def test_who_waits_until_all_is_settled_hears_what_cannot_be() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await talk.open()
        wrong = [AddService(ServiceConfig(WEB, "no-such-scheduler"))]
        talk.configure(Wanted((0, 0, 0)), wrong)
        with pytest.raises((ControlError, PluginError)):
            await talk.settled()

    run(scenario)


def test_an_engine_is_told_its_first_services_before_the_last_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(Engines, "send", lambda _, message: sent.append(message))
    told = []

    def coming() -> Iterator[Command]:
        for number in range(3 * TOGETHER):
            told.append(len(sent))
            yield AddService(ServiceConfig(ServiceKey(fwmark=number + 1)))

    async def scenario(talk: Conversation, _: Owner) -> None:
        have = Wanted((0, 0, 0))
        talk.configure(have, coming())
        assert len(have.services) == 3 * TOGETHER
        assert told[0] == 0
        assert told[-1] > 0

    run(scenario)


def test_questions_are_answered_with_what_both_count() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await begun(talk)
        (status,) = await asked(talk, "status")
        groups = status["result"]["groups"]
        assert groups["outside"] == {"counted": 3}
        assert groups["packets"]["sent"] == 0

    run(scenario)


def test_a_long_answer_comes_in_parts_and_may_be_left_half_way() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await begun(talk, servers=3000)
        lines = talk.ask(b'{"method":"list"}')
        await anext(lines)
        await lines.aclose()
        (answer,) = await asked(talk, "timeouts")
        assert "result" in answer

    run(scenario)


def test_a_list_of_commands_is_done_as_a_whole_however_long_it_is() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk, servers=1000)
        edits = [EditServer(WEB, server(each.config.address, weight=7)) for each in added(1000)]
        await talk.apply(edits)
        assert await weights(talk) == [7] * 1000
        some = [RemoveServer(WEB, each.config.address, 80) for each in added(999)]
        with pytest.raises(ControlError, match="No such destination"):
            await talk.apply([*some[:500], RemoveServer(WEB, pack("10.9.9.9"), 80)])
        assert await weights(talk) == [7] * 1000
        await talk.apply(some)
        await until(lambda: len(owner.diverted[-1].servers) == 1)

    run(scenario)


def test_an_engine_says_that_a_drained_server_has_no_connections() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk, servers=2)
        await talk.apply([Drain(WEB, RIP, 80, 600)])
        await until(lambda: bool(owner.empty))
        assert owner.empty == [Emptied(WEB, RIP, 80, 0)]

    run(scenario)


def added(servers: int) -> list[AddServer]:
    """Return the commands that add servers."""
    return [each for each in wanted(servers) if isinstance(each, AddServer)]


def test_the_engine_after_the_one_that_ended_is_told_everything_anew() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk)
        talk.lead({RIP: Lead(1, "eth0", bytes(6), 1500, bytes(6))})
        await talk.apply([EditServer(WEB, server(RIP, weight=5, forwarder=Dr()))])
        await until(lambda: not owner.diverted[-1].servers)
        told = len(owner.diverted)
        working = talk._engines.working
        assert working is not None
        os.kill(working.process, signal.SIGKILL)
        await until(lambda: talk.counters()["replaced"] and len(owner.diverted) > told)
        assert await weights(talk) == [5]
        for diverted in owner.diverted[told:]:  # never less in between
            assert diverted.endpoints == {(WEB.vip, TCP, 80)}
            assert not diverted.servers

    run(scenario)


def test_an_engine_in_place_of_another_never_diverts_a_part_of_what_was_diverted() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk, servers=2000)
        all_of_it = owner.diverted[-1]
        told = len(owner.diverted)
        working = talk._engines.working
        assert working is not None
        os.kill(working.process, signal.SIGKILL)
        await until(lambda: all_of_it in owner.diverted[told:])
        assert owner.diverted[told:] == [all_of_it]

    run(scenario)


def test_what_could_not_be_worked_out_follows_from_the_next_change_of_anything() -> None:
    async def scenario(talk: Conversation, owner: Owner) -> None:
        await begun(talk)
        other = pack("10.0.0.99")
        await talk.apply([AddServer(WEB, server(other))])
        assert await weights(talk) == [1, 1]
        talk.learned(Host({1: 1400}, frozenset({pack("10.0.0.1")}), {RIP: Way(1300, RIP)}))
        await until(lambda: (other, TCP, 80) in owner.diverted[-1].servers)

    run(scenario, failing_once)


def test_a_question_to_an_engine_that_ends_is_answered_so() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await begun(talk)
        working = talk._engines.working
        assert working is not None
        os.kill(working.process, signal.SIGSTOP)
        answer = asyncio.ensure_future(asked(talk, "list"))
        await asyncio.sleep(0.05)
        os.kill(working.process, signal.SIGKILL)
        assert "ask again" in (await answer)[0]["error"]["message"]

    run(scenario)


def test_what_the_kernel_refuses_an_engine_is_the_error_of_the_start() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        with pytest.raises(KernelError, match="take NFQUEUE 0: it is taken; give lvsd another"):
            await talk.open()

    run(scenario, refusing)


def test_a_scheduler_that_cannot_be_made_is_the_error_of_the_start() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        await talk.open()
        talk.configure(Wanted((0, 0, 0)), [AddService(ServiceConfig(WEB, "nonesuch"))])
        talk.start()
        with pytest.raises(PluginError, match="nonesuch"):
            await talk.started()

    run(scenario)


def test_engines_that_hang_before_they_begin_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "SILENT_S", 0.5)
    monkeypatch.setattr(engines_module, "KILLED_S", PATIENCE_S)  # else it is not seen to end
    monkeypatch.setattr(conversation_module, "LOOK_S", 0.05)
    monkeypatch.setattr(engines_module, "DEATHS", 2)

    async def scenario(talk: Conversation, _: Owner) -> None:
        with pytest.raises(EngineError, match="by SIGKILL"):
            await talk.open()

    run(scenario, hanging)


def test_a_stop_while_a_start_waits_for_a_hanging_engine_is_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines_module, "FAREWELL_S", 0.1)
    monkeypatch.setattr(conversation_module, "LOOK_S", 0.05)

    async def scenario(talk: Conversation, owner: Owner) -> None:
        owner.is_stopped = True
        with pytest.raises(StoppedError):
            await talk.open()

    run(scenario, hanging)


def test_engines_that_cannot_take_their_services_end() -> None:
    async def scenario(talk: Conversation, _: Owner) -> None:
        with pytest.raises(EngineError, match="with status 70"):
            await begun(talk)

    run(scenario, without_memory)
