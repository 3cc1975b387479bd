"""Everything that a test session wants to know of the kernel, asked at once.

A module of tests has a function ``questions`` that returns its `Question`s by name; its tests get
the answers by the fixture ``answers``.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tests.kernel import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from tests.kernel.scenario import Observation, Scenario

KERNELS = 3
"""So many run at a time. Those in real time leave a third of a processor to others."""
VIRTUAL_COST = 3
"""An operation in virtual time takes so many times longer."""

Answer: TypeAlias = "list[tuple[Scenario, list[Observation]]]"
"""Scenarios, each with what the kernel did."""


@dataclass(frozen=True, slots=True)
class Question:
    """Scenarios to carry out in one boot; see `judge.ask`."""

    scenarios: Sequence[Scenario]
    virtual_time: bool = True

    @property
    def cost(self) -> int:
        """How long it takes, compared with others."""
        operations = sum(len(scenario.operations) for scenario in self.scenarios)
        return operations * (VIRTUAL_COST if self.virtual_time else 1)

    def ask(self) -> judge.Verdicts:
        """Ask. Raise NotAskedError."""
        return judge.ask(self.scenarios, virtual_time=self.virtual_time)


class Court:
    """Asks the questions of modules, and has the answers when they are wanted."""

    def __init__(self, modules: Iterable[ModuleType], *, full: bool) -> None:
        self._kernels = ThreadPoolExecutor(KERNELS)
        self._failure: judge.NotAskedError | None = None
        self._asked: dict[tuple[str, str], tuple[Question, Future[judge.Verdicts]]] = {}
        questions = {
            (module.__name__, name): question
            for module in modules
            for name, question in module.questions(full=full).items()
        }
        for asked, question in sorted(questions.items(), key=lambda each: -each[1].cost):
            self._asked[asked] = question, self._kernels.submit(self._ask, question)

    def answers(self, module: ModuleType) -> dict[str, Answer]:
        """Return the answers to a module's questions. Raise NotAskedError if one was not given."""
        return {
            name: list(zip(question.scenarios, future.result().observations, strict=True))
            for (asked, name), (question, future) in self._asked.items()
            if asked == module.__name__
        }

    def _ask(self, question: Question) -> judge.Verdicts:
        """Ask; after one failure no more: each machine may take minutes to come to the same."""
        if self._failure is not None:
            raise self._failure
        try:
            return question.ask()
        except judge.NotAskedError as failure:
            self._failure = failure
            raise

    @property
    def kernel(self) -> str:
        """The name of the kernel that has answered; empty if none was asked."""
        return next((future.result().kernel for _, future in self._asked.values()), "")

    def close(self) -> None:
        """Forget what was not asked yet."""
        self._kernels.shutdown(cancel_futures=True)
