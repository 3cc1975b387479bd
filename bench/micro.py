"""``python -m bench micro``: everything that is timed in process, by pyperf.

pyperf calibrates how often, starts worker processes, warms up, and writes the results with their
metadata. ``python -m pyperf show``, ``stats`` and ``compare_to`` read the files.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyperf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.harness import Case

GROUPS = ("packet", "core", "schedulers", "table")
"""Each is the module of that name, with a function ``cases() -> list[Case]``."""

PACKAGES = ("lvsd", "schedulers", "forwarders")
"""What is measured."""

PROCESSES = 6


def main(argv: Sequence[str]) -> None:
    """Time what the command line names, or everything. Raise UsageError if there is no such."""
    running: list[str] = []

    def hand_on(command: list[str], _options: Any) -> None:
        command.extend(("--worker-task=0", running[-1]))

    runner = pyperf.Runner(
        processes=PROCESSES,
        program_args=("-m", "bench", "micro"),
        add_cmdline_args=hand_on,
        metadata={"lvsd_clock": "CPU time of the process"},
    )
    parser = runner.argparser
    parser.prog = "python -m bench micro"
    parser.description = "Time what lvsd does in process, by pyperf."
    parser.add_argument("name", nargs="*", metavar="NAME", help="a benchmark, or a pattern of them")
    parser.add_argument("--list", action="store_true", help="print their names, and time nothing")
    parser.add_argument(
        "--packages", type=Path, metavar="FOLDER", help="refuse to time another folder's lvsd"
    )
    options = runner.parse_args(list(argv))
    if options.packages:
        _check(options.packages)
    cases = find(options.name or ["*"])
    if options.list:
        sys.stdout.writelines(f"{case.name}\n" for case in cases)
        return
    loops = options.loops
    for case in cases:
        if not options.worker:
            options.loops = loops or case.loops
        running.append(case.name)
        _time(runner, case)


def find(patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose names match; of a named group only that module is imported.

    Raise UsageError for a pattern that nothing matches.
    """
    found: dict[str, Case] = {}
    for pattern in patterns:
        group = pattern.partition("-")[0]
        groups = [group] if group in GROUPS else GROUPS
        matching = {
            case.name: case
            for name in groups
            for case in import_module(f"bench.{name}").cases()
            if fnmatchcase(case.name, pattern)
        }
        if not matching:
            from lvsd.errors import UsageError  # noqa: PLC0415 - not every revision need have it

            raise UsageError(f"no benchmark is named {pattern}; see 'python -m bench micro --list'")
        found |= matching
    return list(found.values())


def _time(runner: Any, case: Case) -> None:
    """Let pyperf time a case; it is prepared in the worker only."""
    prepared = cache(case.prepare)

    def turn(loops: int) -> float:
        return prepared()(loops)

    runner.bench_time_func(case.name, turn, inner_loops=case.inner)


def _check(folder: Path) -> None:
    """Exit unless all `PACKAGES` are those of a folder."""
    for name in PACKAGES:
        file = Path(import_module(name).__file__ or "").resolve()
        if not file.is_relative_to(folder.resolve()):
            sys.exit(f"{name} is {file}, which is not in {folder}")
