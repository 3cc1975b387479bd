"""One turn of a benchmark in a pyperf worker process of its own, with one tree's packages."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import pyperf

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness import Case

MIN_TIME_S: Final = 0.03
VALUES: Final = 3
HANDED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL")


class CannotRunError(Exception):
    """A tree's packages cannot run a benchmark; the text says why in a line."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs benchmarks of a harness with the packages of one tree.

    pyperf's file of the last result is in folder ``results``.
    """

    harness: Path
    packages: Path
    results: Path

    def calibrate(self, case: Case) -> int:
        """Return how many loops make a turn long enough, having run it. Raise CannotRunError."""
        if case.loops:
            self.seconds(case, case.loops, 0)
            return case.loops
        options = ("--calibrate-loops", "--warmups", "1", "--values", "1")
        loops: int = self._run(case.name, 0, *options).get_runs()[0].warmups[-1][0]
        return loops

    def seconds(self, case: Case, loops: int, seed: int) -> float:
        """Return what one of what is measured takes. Raise CannotRunError.

        It is the median of a few values after one to warm up. ``seed`` is that of the hashes of
        strings and bytes: they decide what collides in dicts.
        """
        options = ("--loops", str(loops), "--warmups", "1", "--values", str(VALUES))
        values: tuple[float, ...] = self._run(case.name, seed, *options).get_values()
        return median(values)

    def _run(self, name: str, seed: int, *options: str) -> Any:
        file = self.results / "result.json"
        file.unlink(missing_ok=True)
        # -P leaves out the working directory, so PYTHONPATH comes first of all.
        command = [sys.executable, "-P", "-m", "bench", "micro", "--worker", "--worker-task=0"]
        command += ["--quiet", "--min-time", str(MIN_TIME_S), "-o", str(file), *options]
        environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join((str(self.harness), str(self.packages)))
        environment["PYTHONHASHSEED"] = str(seed)
        done = subprocess.run(
            [*command, "--packages", str(self.packages), name],
            cwd=self.results,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not file.exists():
            lines = done.stderr.strip().splitlines()
            raise CannotRunError(lines[-1] if lines else f"exit status {done.returncode}")
        return pyperf.Benchmark.load(str(file))
