"""Answer what clients of the control socket ask, line by line, as the supervisor hands it on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lvsd.control.answers import answers
from lvsd.engine.messages import Answer, Enough, Next, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.control.methods import Context
    from lvsd.turns import Turns


AHEAD: Final = 16
"""Lines of an answer that may be on their way to a client: of a millisecond's work each."""


class Questions:
    """Has a task for each question that is being answered. ``tell`` sends a message."""

    def __init__(self, context: Context, turns: Turns, tell: Callable[[object], None]) -> None:
        self._context = context
        self._turns = turns
        self._tell = tell
        self._taken: dict[int, asyncio.Semaphore] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, message: Question | Next | Enough) -> None:
        """Begin to answer, go on, or leave off."""
        number = message.number
        match message:
            case Question():
                self._taken[number] = asyncio.Semaphore(AHEAD)
                task = asyncio.get_running_loop().create_task(self._answer(message))
                self._tasks[number] = task
                task.add_done_callback(lambda _: self._forget(number))
            case Next():
                if number in self._taken:
                    self._taken[number].release()
            case Enough():
                if number in self._tasks:
                    self._tasks[number].cancel()

    def _forget(self, number: int) -> None:
        del self._taken[number], self._tasks[number]

    async def _answer(self, question: Question) -> None:
        number, own = question.number, self._context.counters
        context = replace(self._context, counters=lambda: {**own(), **question.groups})
        taken = self._taken[number]
        line: bytes | None = None
        async for each in answers(context, question.line, self._turns):
            if line is not None:
                await taken.acquire()
                self._tell(Answer(number, line, is_last=False))
            line = each
        self._tell(Answer(number, line or b"", is_last=True))
