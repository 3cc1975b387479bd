"""One benchmark in process, and its timings by pyperf.

What is timed is the CPU time of the process. Nothing here waits, so that is all the time there is
on a quiet machine; on a busy one it varies by 3 to 7% where the clock's varies by 14 to 90%.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import TYPE_CHECKING, TypeAlias

import pyperf

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent

Turn: TypeAlias = Callable[[int], float]
"""Does something so many times, and returns the seconds of CPU time that it took."""

BRIEF = ("--processes", "2", "--values", "2", "--min-time", "0.03")
"""How the tables are measured, as there are many rows."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something to be timed. ``name`` begins with its module's (`bench.micro.GROUPS`).

    ``prepare`` is called once in each worker process. One time of its turn is ``inner`` of what is
    measured. ``loops`` is how many times make a turn long enough; 0 lets pyperf find out.
    """

    name: str
    prepare: Callable[[], Turn]
    inner: int = 1
    loops: int = 0


def calls(call: Callable[[], object]) -> Turn:
    """Return a turn that does nothing but call."""

    def turn(loops: int) -> float:
        times = repeat(None, loops)
        begin = process_time()
        for _ in times:
            call()
        return process_time() - begin

    return turn


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that one of what a case measures took, each the mean of a turn."""

    values: tuple[float, ...]

    @property
    def per_s(self) -> float:
        """How many a second, by the median turn."""
        return 1 / median(self.values)

    @property
    def least_ns(self) -> float:
        """Nanoseconds that one took in the best turn."""
        return min(self.values) * 1e9


def timed(patterns: Sequence[str]) -> dict[str, Timing]:
    """Run ``python -m bench micro`` on all that is named so; return the timings by name.

    Raise CalledProcessError when one fails; what is wrong is on stderr then.
    """
    with TemporaryDirectory(prefix="lvsd-bench-") as folder:
        file = Path(folder, "results.json")
        command = [sys.executable, "-m", "bench", "micro", *BRIEF, "--quiet", "-o", str(file)]
        subprocess.run([*command, *patterns], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        suite = pyperf.BenchmarkSuite.load(str(file))
    return {each.get_name(): Timing(each.get_values()) for each in suite.get_benchmarks()}
