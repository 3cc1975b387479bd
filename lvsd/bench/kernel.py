"""The kernel's own picks, beside ours and the rule's: asked of the checkout's emulated kernel.

A checkout has a harness that boots Debian's kernel with ip_vs in qemu (docs/testing.md). It is no
part of lvsd, so it is run as a program, `tests.kernel.picks`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.bench.farm import Farm
from lvsd.bench.history import DRIFT_S, MOST_SERVERS, Dictated, Played, history, replay
from lvsd.bench.quality import scaled
from lvsd.errors import KernelError, PrivilegeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.bench.history import History
    from lvsd.bench.plugins import Candidate
    from lvsd.bench.quality import Case

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = "tests.kernel.picks"
OPERATION: Final = "--kernel"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One scheduler: three sides of the same history; ``agree`` are picks like the kernel's."""

    scheduler: str
    kernel: Played
    ours: Played
    rule: Played
    ours_agree: int
    rule_agree: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What the kernel, by its name, has picked; it has no schedulers like ``others``."""

    kernel: str
    servers: int
    connections: int
    duration_s: float
    schedulers: tuple[Comparison, ...]
    others: tuple[str, ...]


def check(candidates: Sequence[Candidate], checkout: Path = CHECKOUT) -> None:
    """Raise KernelError where no kernel can be asked, UsageError where none knows of these."""
    if not any(candidate.rule for candidate in candidates):
        raise UsageError("--kernel: the kernel has none of these schedulers; name a built-in one")
    ask({"version": 4, "connections": [], "events": [], "services": []}, checkout)


def ask(question: dict[str, Any], checkout: Path = CHECKOUT) -> dict[str, Any]:
    """Return the harness's answer; an empty question boots nothing. Raise KernelError."""
    if not (checkout / "tests" / "kernel" / "picks.py").exists():
        raise KernelError(
            OPERATION,
            "the kernel is asked by the tests of a checkout, and this lvsd is installed without",
            "run the lvsd of a checkout, after `make venv` and packaging/install-stock-kernel",
        )
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        cwd=checkout,
        check=False,
    )
    remedy = "`make kernel` in the checkout, as root, gets what it takes, and says more"
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise KernelError(OPERATION, f"the kernel was not asked: {words[-1]}", remedy)
    answer: dict[str, Any] = json.loads(done.stdout)
    if "why_not" in answer:
        if answer["needs_root"]:
            raise PrivilegeError(OPERATION, "only root can boot a kernel in qemu", "use sudo")
        raise KernelError(OPERATION, f"no kernel can be asked here: {answer['why_not']}", remedy)
    return answer


def compare(candidates: Sequence[Candidate], case: Case) -> Compared:
    """Play the beginning of a case to the kernel, to ours and to the rules. Raise KernelError."""
    known = [candidate for candidate in candidates if candidate.rule]
    story = history(case.arrivals)
    weights = {each.name: scaled(each.name, case)[:MOST_SERVERS] for each in known}
    answer = ask(story.question([(each.name, weights[each.name]) for each in known]))
    if answer["drift_s"] > DRIFT_S:
        raise KernelError(
            OPERATION,
            f"the emulated kernel's clock ran {answer['drift_s']:.1f} s off",
            "repeat it; if that does not help, with a lower --load",
        )
    found = [
        comparison(each, answer["picks"][each.name], story, weights[each.name]) for each in known
    ]
    return Compared(
        answer["kernel"],
        min(MOST_SERVERS, len(case.weights)),
        len(story.flows),
        story.events[-1][0],
        tuple(found),
        tuple(candidate.name for candidate in candidates if not candidate.rule),
    )


def comparison(
    candidate: Candidate, picks: Sequence[int | None], story: History, weights: Sequence[int]
) -> Comparison:
    """Return how a scheduler and its rule do beside what the kernel has picked."""
    sides = [Dictated(picks), candidate.make(), (candidate.rule or candidate.made_by)()]
    kernel, ours, rule = (
        replay(story, Farm(scheduler, weights, story.version)) for scheduler in sides
    )
    return Comparison(
        candidate.name, kernel, ours, rule, _agree(kernel, ours), _agree(kernel, rule)
    )


def _agree(kernel: Played, other: Played) -> int:
    return sum(a == b for a, b in zip(kernel.picks, other.picks, strict=True))
