"""What clients ask of the engine: their lines go there, and the lines of its answers come back."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Final

from lvsd.control.protocol import Code, encode_error
from lvsd.engine.messages import Enough, Next, Question
from lvsd.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from lvsd.engine.messages import Answer
    from lvsd.supervisor.engines import Engines
    from lvsd.supervisor.gate import Gate

GONE: Final = "the engine ended and is being replaced: ask again"


class Questions:
    """Asks the engine at work, once the ``gate`` is open.

    ``counters`` are told of what is counted outside of it.
    """

    def __init__(
        self,
        engines: Engines,
        gate: Gate,
        counters: Callable[[], Mapping[str, Mapping[str, int | str]]],
    ) -> None:
        self._engines = engines
        self._gate = gate
        self._counters = counters
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Queue[Answer | None]] = {}

    async def ask(self, line: bytes) -> AsyncGenerator[bytes]:
        """Yield the lines that answer a client's, as the engine gives them."""
        try:
            await self._gate.passed()
        except BusyError as error:
            yield encode_error(Code.BUSY, str(error))
            return
        number = next(self._numbers)
        answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._waiting[number] = answers
        self._engines.send(Question(number, line, self._counters()))
        is_over = False
        try:
            while not is_over:
                answer = await answers.get()
                is_over = answer is None or answer.is_last
                yield encode_error(Code.BUSY, GONE) if answer is None else answer.line
                if not is_over:
                    self._engines.send(Next(number))
        finally:
            del self._waiting[number]
            if not is_over:
                self._engines.send(Enough(number))

    def answered(self, answer: Answer) -> None:
        """Take in what the engine says."""
        if answer.number in self._waiting:
            self._waiting[answer.number].put_nowait(answer)

    def lose(self) -> None:
        """Take note that the engine ended: what it was asked has no answer any more."""
        for answers in self._waiting.values():
            answers.put_nowait(None)
