"""Everything that a test session wants to know of the kernel, asked in as few boots as pays.

A module of tests has a function ``questions`` that returns its `Question`s by name; its tests get
the answers by the fixture ``answers``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tests.kernel import judge
from tests.kernel.scenario import Scenario, Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

    from tests.kernel.scenario import Observation

KERNELS = 3
"""So many run at a time. Those in real time leave a third of a processor to others."""
VIRTUAL_COST = 3
"""An operation in virtual time takes so many times longer."""
ONE_BOOT = 40_000
"""Questions in virtual time share a boot as long as they cost no more; a boot itself costs some
4,000."""
FORGETTING = Scenario("between questions", (Wait(300),))
"""The kernel keeps removed real servers for up to three minutes, and gives them back as they were
to a service that has the address of the former one. In virtual time this wait costs nothing."""

Name: TypeAlias = tuple[str, str]
"""Of a question: its module's, and its own there."""

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


@dataclass(slots=True)
class Boot:
    """Questions that one kernel answers, one after the other."""

    virtual_time: bool
    questions: list[tuple[Name, Question]] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """How long it takes, compared with others."""
        return sum(question.cost for _, question in self.questions)

    def takes(self, question: Question) -> bool:
        """Tell whether a question may be asked here, too."""
        is_virtual = self.virtual_time and question.virtual_time
        return is_virtual and self.cost + question.cost <= ONE_BOOT

    def ask(self) -> judge.Verdicts:
        """Ask. Raise NotAskedError."""
        scenarios = [
            scenario
            for _, question in self.questions
            for scenario in (*question.scenarios, FORGETTING)
        ]
        return judge.ask(scenarios[:-1], virtual_time=self.virtual_time)

    def answers(self, verdicts: judge.Verdicts) -> dict[Name, Answer]:
        """Return the answer to each question."""
        found, first = {}, 0
        for name, question in self.questions:
            after = first + len(question.scenarios)
            observed = verdicts.observations[first:after]
            found[name] = list(zip(question.scenarios, observed, strict=True))
            first = after + len((FORGETTING,))
        return found


def boots(questions: Mapping[Name, Question]) -> list[Boot]:
    """Share out questions to boots; return these, the longest first."""
    made: list[Boot] = []
    for name, question in sorted(questions.items(), key=lambda each: -each[1].cost):
        boot = next((boot for boot in made if boot.takes(question)), None)
        if boot is None:
            boot = Boot(question.virtual_time)
            made.append(boot)
        boot.questions.append((name, question))
    return sorted(made, key=lambda boot: -boot.cost)


class Court:
    """Asks the questions of modules, and has the answers when they are wanted."""

    def __init__(self, modules: Iterable[ModuleType], *, full: bool) -> None:
        self._kernels = ThreadPoolExecutor(KERNELS)
        self._failure: judge.NotAskedError | None = None
        questions: dict[Name, Question] = {
            (module.__name__, name): question
            for module in modules
            for name, question in module.questions(full=full).items()
        }
        self._asked = [(boot, self._kernels.submit(self._ask, boot)) for boot in boots(questions)]

    def answers(self, module: ModuleType) -> dict[str, Answer]:
        """Return the answers to a module's questions. Raise NotAskedError if one was not given."""
        return {
            name: answer
            for boot, future in self._asked
            if any(asked == module.__name__ for (asked, _), _ in boot.questions)
            for (asked, name), answer in boot.answers(future.result()).items()
            if asked == module.__name__
        }

    def _ask(self, boot: Boot) -> judge.Verdicts:
        """Ask; after one failure no more: each machine may take minutes to come to the same."""
        if self._failure is not None:
            raise self._failure
        try:
            return boot.ask()
        except judge.NotAskedError as failure:
            self._failure = failure
            raise

    @property
    def kernel(self) -> str:
        """The name of the kernel that has answered; empty if none was asked."""
        return next((future.result().kernel for _, future in self._asked), "")

    def close(self) -> None:
        """Forget what was not asked yet."""
        self._kernels.shutdown(cancel_futures=True)
