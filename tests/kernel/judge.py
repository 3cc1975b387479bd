"""Ask kernel IPVS: scenarios in, observations out.

The kernel is Debian's own, the newest there is, in an emulated machine (tests/stock_kernel/run)
with one processor. `packaging/install-stock-kernel` gets it.
"""

from __future__ import annotations

import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.scenario import Observation, Scenario

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
RUN = ROOT / "tests" / "stock_kernel" / "run"
GUEST = ROOT / "tests" / "kernel" / "guest.py"
TIMEOUT_S = 3600.0
"""Generous: a machine that does not come up is ended long before."""
LEAST = (6, 1, 0, 56)
"""Debian's number for the kernel that lvsd does as, 6.1.192 (docs/differences.md)."""


FAILED = CACHE / "judge-failed.log"
"""What the last kernel that was not asked has said, and its console."""


class NotAskedError(RuntimeError):
    """The emulated machine did not do its work; says why in one line."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a kernel did: its name, and a list of observations for each scenario."""

    kernel: str
    observations: list[list[Observation]]


def why_not() -> str | None:
    """Return why the kernel cannot be asked here, with what would mend it; None if it can."""
    if platform.machine() != "x86_64":
        return "the kernel that judges is Debian's for amd64"
    if os.geteuid() != 0:
        return "needs root: run `sudo make test-kernel`"
    linux = CACHE / "stock-kernel" / "linux"
    if not linux.exists():
        return "no kernel to ask: run packaging/install-stock-kernel"
    release = linux.readlink().name
    if tuple(map(int, re.findall(r"\d+", release)[: len(LEAST)])) < LEAST:
        return (
            f"the kernel here, {release}, counts load otherwise than Linux 6.1.192 and lvsd:"
            " have bookworm-security in apt's sources, and remove .cache/stock-kernel"
        )
    return None


def ask(scenarios: Sequence[Scenario], *, virtual_time: bool = True) -> Verdicts:
    """Carry out scenarios on kernel IPVS. Raise NotAskedError, with a line why, if that fails.

    With virtual time a wait costs none, and looking takes none of it, but everything is done some
    five times slower.
    """
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="judge-", dir=CACHE))
    try:
        source, results = folder / "scenarios", folder / "results"
        source.write_bytes(pickle.dumps(list(scenarios)))
        command: list[str | Path] = [
            sys.executable,
            GUEST,
            source,
            "/run/stock-kernel/observations",
        ]
        done = run(command, results, virtual_time=virtual_time)
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            FAILED.write_text(_account(done, results), "utf-8")
            raise NotAskedError(f"kernel IPVS was not asked: {why[0]} (more in {FAILED})")
        observed = pickle.loads((results / "observations").read_bytes())  # noqa: S301 - our own
        return Verdicts(done.stdout.splitlines()[0], observed)
    finally:
        shutil.rmtree(folder)


def run(
    command: Sequence[str | Path],
    results: Path,
    *,
    virtual_time: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run a command on that kernel; what it leaves in /run/stock-kernel is in ``results``."""
    clock = ["--virtual-time"] if virtual_time else ["--processors", "1"]
    options: list[str | Path] = [*clock, "--timeout", str(timeout_s), "--results", results]
    return subprocess.run(
        [RUN, *options, "--", *command], capture_output=True, text=True, check=False
    )


def _account(done: subprocess.CompletedProcess[str], results: Path) -> str:
    console = results / "console.log"
    said = console.read_text("utf-8", errors="replace") if console.exists() else ""
    return f"{done.stdout}{done.stderr}\nThe console:\n{said}"
