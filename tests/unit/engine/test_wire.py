"""The socket pair between supervisor and engine, whatever comes over it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import uvloop

from lvsd import __version__
from lvsd.engine import wire as wire_module
from lvsd.engine.wire import LONGEST, Hello, Wire
from lvsd.errors import WireError
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Scenario = Callable[["Ends"], Coroutine[Any, Any, None]]

PATIENCE_S = 10.0 * PATIENCE
TURNS = 20
HELLO = json.dumps({"version": __version__, "process": 7}).encode()


class Said(NamedTuple):
    """A message that both ends know."""

    number: int
    data: bytes = b""


class Unknown(NamedTuple):
    """A message that only its sender knows."""

    number: int


class End:
    """One end of the pair, what it heard, and how it ended."""

    def __init__(self, end: socket.socket) -> None:
        self.heard: list[object] = []
        self.ended: list[WireError | None] = []
        self.wire = Wire(end, [Said], self.heard.append, self.ended.append)


class Ends:
    """Both ends, on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        sockets = socket.socketpair()
        self.raw = sockets[1]
        self.one, self.other = map(End, sockets)
        self.one.wire.start(loop)
        self._loop = loop

    def start_other(self) -> None:
        """Let the other end be a wire, too; before that a test may write what it likes there."""
        self.other.wire.start(self._loop)


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - whatever may come to hold
            await asyncio.sleep(0.001)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Scenario], None]]:
    """Return a function that runs a scenario with both ends."""
    with asyncio.Runner(loop_factory=request.param) as runner:

        def run(scenario: Scenario) -> None:
            async def around() -> None:
                ends = Ends(asyncio.get_running_loop())
                try:
                    await scenario(ends)
                finally:
                    ends.one.wire.close()
                    ends.other.wire.close()
                    ends.raw.close()

            runner.run(around())

        yield run


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def test_messages_arrive_in_order_and_whole_from_both_sides_at_once(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.start_other()
        one = [Said(number, bytes(number % 5000)) for number in range(3000)]
        other = [Said(-number, b"x" * (number % 3000)) for number in range(3000)]
        for mine, yours in zip(one, other, strict=True):
            ends.one.wire.send(mine)
            ends.other.wire.send(yours)
        await _until(lambda: len(ends.one.heard) == len(ends.other.heard) == 3000)
        assert (ends.other.heard, ends.one.heard) == (one, other)
        assert (ends.one.wire.waiting_bytes, ends.other.wire.waiting_bytes) == (0, 0)
        assert ends.one.wire.peer is not None
        assert ends.one.wire.peer.version == __version__

    run(scenario)


def test_a_message_may_be_longer_than_the_socket_has_room_for(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        message = Said(1, bytes(10 << 20))
        ends.one.wire.send(message)
        assert ends.one.wire.waiting_bytes > 1 << 20
        ends.start_other()
        await _until(lambda: ends.other.heard)
        assert ends.other.heard == [message]
        assert ends.one.wire.waiting_bytes == 0

    run(scenario)


def test_a_sender_that_stays_off_its_loop_sends_what_waits_once_there_is_room(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.one.wire.send(Said(1, bytes(10 << 20)))
        before = ends.one.wire.waiting_bytes
        ends.raw.setblocking(False)
        while True:
            try:
                ends.raw.recv(1 << 20)
            except BlockingIOError:
                break
        ends.one.wire.send(Said(2))
        assert ends.one.wire.waiting_bytes < before

    run(scenario)


def test_others_have_their_turns_while_many_messages_come(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "SLICE_S", 0.0)
    turns = 0

    async def packets() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def scenario(ends: Ends) -> None:
        others = asyncio.create_task(packets())
        for number in range(500):
            ends.one.wire.send(Said(number))
        ends.start_other()
        await _until(lambda: len(ends.other.heard) == 500)
        others.cancel()
        assert turns >= 500

    run(scenario)


def test_how_long_messages_are_handed_on_is_asked_each_time(
    run: Callable[[Scenario], None],
) -> None:
    asked: list[int] = []

    async def scenario(ends: Ends) -> None:
        def slice_s() -> float:
            asked.append(len(ends.other.heard))
            return 0.0 if len(asked) <= 3 else 1.0

        ends.other.wire.slice_s = slice_s
        for number in range(100):
            ends.one.wire.send(Said(number))
        ends.start_other()
        await _until(lambda: len(ends.other.heard) == 100)
        assert asked == [0, 0, 1, 2]  # the first is the greeting

    run(scenario)


def test_an_end_that_closes_is_heard_and_sending_to_it_does_no_harm(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.start_other()
        ends.other.wire.send(Said(1))
        await _until(lambda: ends.one.heard)
        ends.other.wire.close()
        await _until(lambda: ends.one.ended)
        assert ends.one.ended == [None]
        ends.one.wire.send(Said(2))
        ends.one.wire.close()
        assert (ends.one.ended, ends.other.ended) == ([None], [])

    run(scenario)


def test_an_end_that_is_gone_while_much_waits_to_be_sent_is_noticed(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.one.wire.send(Said(1, bytes(10 << 20)))
        ends.raw.close()
        await _until(lambda: ends.one.ended)
        assert ends.one.ended == [None]
        assert ends.one.wire.waiting_bytes == 0

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a message of 1195725856 bytes, expected"),
        (_frame(b"hello"), "the other end does not say which version it is"),
        (_frame(b"\xff\xfe"), "the other end does not say which version it is"),
        (_frame(b'{"version": "1"}'), "the other end does not say which version it is"),
        (_frame(b"[1]"), "the other end does not say which version it is"),
        (
            _frame(b'{"version": "0.0.0", "process": 1}'),
            f"the other end is lvsd 0.0.0, this one is {__version__}",
        ),
        ((LONGEST + 1).to_bytes(4, "big"), f"a message of {LONGEST + 1} bytes, expected"),
        (_frame(HELLO) + _frame(b""), "what came is no message: EOFError"),
        (_frame(HELLO) + _frame(bytes(40)), "what came is no message: UnpicklingError"),
        (_frame(HELLO) + _frame(pickle.dumps(Said(1))[:-1]), "what came is no message"),
        (
            _frame(HELLO) + _frame(pickle.dumps(print)),
            "a message names builtins.print, which is none of ours",
        ),
        (_frame(HELLO) + _frame(pickle.dumps(Unknown(1))), r"test_wire\.Unknown, which is none"),
    ],
    ids=range(12),
)
def test_what_is_no_message_ends_the_wire_with_the_reason(
    run: Callable[[Scenario], None], sent: bytes, wrong: str
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.raw.sendall(sent)
        await _until(lambda: ends.one.ended)
        (error,) = ends.one.ended
        assert isinstance(error, WireError)
        with pytest.raises(WireError, match=wrong):
            raise error
        assert ends.one.heard == []

    run(scenario)


def test_an_end_that_breaks_off_within_a_message_is_an_error(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        ends.raw.sendall(_frame(HELLO) + _frame(pickle.dumps(Said(1))) + _frame(bytes(9))[:-1])
        await _until(lambda: ends.one.heard)
        ends.raw.close()
        await _until(lambda: ends.one.ended)
        assert str(ends.one.ended[0]) == "the other end broke off within a message"
        assert ends.one.heard == [Said(1)]
        assert ends.one.wire.peer == Hello(__version__, 7)

    run(scenario)


def test_without_memory_for_what_comes_it_waits_and_reads_it_later(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "READ_AT_ONCE", 1 << 62)
    monkeypatch.setattr(wire_module, "SHORT_OF_MEMORY_S", 0.5, raising=False)

    async def scenario(ends: Ends) -> None:
        loop = asyncio.get_running_loop()
        failures: list[object] = []
        loop.set_exception_handler(lambda _, about: failures.append(about["exception"]))
        ends.start_other()
        ends.other.wire.send(Said(1))
        await _until(lambda: failures)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert len(failures) < TURNS
        monkeypatch.setattr(wire_module, "READ_AT_ONCE", 1000)
        await _until(lambda: ends.one.heard)
        assert ends.one.heard == [Said(1)]

    run(scenario)


def test_what_comes_after_a_message_that_cannot_be_dealt_with_is_handed_on(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(ends: Ends) -> None:
        failures: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: failures.append(about["exception"]))
        mistake = ValueError("a mistake")
        heard: list[object] = []

        def receive(message: object) -> None:
            if message == Said(1):
                raise mistake
            heard.append(message)

        ends.one.wire._receive = receive
        said = (HELLO, *(pickle.dumps(Said(number)) for number in range(4)))
        ends.raw.send(b"".join(map(_frame, said)))
        await _until(lambda: len(heard) == 3)
        assert heard == [Said(0), Said(2), Said(3)]
        assert failures == [mistake]

    run(scenario)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value like those of commands."""

    name: bytes
    number: int = 0


@dataclass(frozen=True, slots=True)
class Single:
    """A value of one field."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Empty:
    """A value of none."""


def test_values_go_over_the_wire_without_a_look_at_the_fields_of_each(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    fields = dataclasses.fields

    def counted(of: Any) -> Any:
        looks.append(of)
        return fields(of)

    async def scenario(ends: Ends) -> None:
        ends.start_other()
        ends.other.wire._classes = {
            (each.__module__, each.__qualname__): each for each in (Wanted, Single, Empty)
        }
        said = [Single(Wanted(b"web", number)) for number in range(100)]
        monkeypatch.setattr(dataclasses, "fields", counted)
        ends.one.wire.send((said, Empty()))
        await _until(lambda: ends.other.heard)
        assert ends.other.heard == [(said, Empty())]
        assert len(looks) < len(said)

    run(scenario)


def test_what_takes_its_time_is_done_in_slices_and_before_the_next_message(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "SLICE_S", 0.0)
    done: list[str] = []

    def working(message: object) -> Iterator[None]:
        for step in range(TURNS):
            done.append(f"{message} {step}")
            yield

    async def scenario(ends: Ends) -> None:
        ends.other.wire._receive = lambda message: working(message.number)  # type: ignore[attr-defined]
        ends.start_other()
        turns = 0
        for number in (1, 2):
            ends.one.wire.send(Said(number))
        while len(done) < 2 * TURNS:
            before = len(done)
            await asyncio.sleep(0)
            assert len(done) <= before + 1
            turns += 1
        assert turns >= 2 * TURNS

    run(scenario)
    assert done == [f"{number} {step}" for number in (1, 2) for step in range(TURNS)]
