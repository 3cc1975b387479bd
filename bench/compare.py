"""``python -m bench compare``: this tree against another git revision, in turns."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console

from bench import show
from bench.inference import fewest_rounds
from bench.micro import find
from bench.trees import beside
from bench.verdict import slower_than, verdicts
from bench.worker import CannotRunError, Worker
from lvsd.arguments import Parser
from lvsd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.harness import Case
    from bench.inference import Rounds
    from bench.trees import Trees
    from bench.verdict import Verdict

SELECTION: Final = (
    "packet-load-tcp4-1500",
    "packet-rewrite-tcp[46]-1500",
    "packet-wrap-ipip-tcp4",
    "packet-fullnat-request-tcp4",
    "core-nat-tcp[46]-3",
    "core-nat-udp4-3",
    "core-dr-tcp4-3",
    "core-tun-tcp4-3",
    "core-fullnat-tcp4-3",
    "core-open-wlc-tcp4-1000",
    "core-open-fullnat-tcp4-3",
    "schedulers-wlc-1000",
    "schedulers-rr-1000",
    "table-expire",
)
"""What is compared unless the command line names something else."""

SPARE_ROUNDS: Final = 5
"""Rounds beyond the fewest, so that one or two that something else spoilt do no harm."""

SLOWER: Final = 1
"""The exit status when something is slower than --fail-slower allows."""

DESCRIPTION: Final = """\
Compare this tree, uncommitted changes included, with another git revision: this tree's benchmarks
run with the packages of both, in turns, each turn in a process of its own. Without NAME a selection
of them is run, in about five minutes; '*' is all.
"""


def main(argv: Sequence[str]) -> int:
    """Compare, and print verdicts; return what `outcome` says. Raise UsageError.

    Everything that was made is removed also after a signal that ends this.
    """
    options = _parser().parse_intermixed_args(argv)
    cases = find(options.name or SELECTION)
    tests = len(cases) + 1
    fewest = fewest_rounds(tests)
    rounds = options.rounds or fewest + SPARE_ROUNDS
    if rounds < fewest:
        raise UsageError(
            f"{rounds} rounds can show no difference in what is to be compared; "
            f"at least {fewest} are needed, or fewer benchmarks"
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    err = Console(stderr=True)
    try:
        with beside(options.revision) as trees, err.status("preparing") as status:
            samples, failures = take_turns(trees, cases, rounds, status.update)
    except KeyboardInterrupt:
        err.print("interrupted")
        return 128 + signal.SIGINT
    results = verdicts(samples) if samples else []
    if options.json:
        show.as_json(trees, rounds, results, samples, failures)
    else:
        show.as_text(trees, rounds, results, failures)
    exit_status, why = outcome(options.fail_slower, samples, results)
    if why:
        err.print(why, markup=False)
    return exit_status


def outcome(
    fail_slower: float | None, samples: Mapping[str, Rounds], results: Sequence[Verdict]
) -> tuple[int, str]:
    """Return the exit status, and why it is not 0."""
    if not samples:
        return os.EX_UNAVAILABLE, "nothing could be compared"
    slower = [] if fail_slower is None else slower_than(fail_slower, samples, results)
    if slower:
        return SLOWER, f"slower by more than {fail_slower:g}%: {', '.join(slower)}"
    return os.EX_OK, ""


def take_turns(
    trees: Trees, cases: Sequence[Case], rounds: int, progress: Callable[[str], None]
) -> tuple[dict[str, Rounds], dict[str, str]]:
    """Return what each case took in each round, old and new, and why others cannot be run.

    Rounds go through all cases, so that each case meets the whole time's conditions. Who begins
    changes from round to round; how often a turn loops, and the hashes' seed, are the same for
    both sides.
    """
    new = Worker(trees.harness, trees.new, trees.folder)
    old = Worker(trees.harness, trees.old, trees.folder)
    samples: dict[str, list[tuple[float, float]]] = {}
    loops: dict[str, int] = {}
    failures: dict[str, str] = {}
    for case in cases:
        progress(f"calibrating: {case.name}")
        for side, whose in ((new, "this tree"), (old, trees.commit)):
            try:
                loops.setdefault(case.name, side.calibrate(case))
            except CannotRunError as error:
                failures.setdefault(case.name, f"{whose} cannot run it: {error}")
    for number in range(rounds):
        for case in cases:
            if case.name in failures:
                continue
            progress(f"round {number + 1} of {rounds}: {case.name}")
            taken = {}
            for side in (old, new) if number % 2 == 0 else (new, old):
                try:
                    taken[side.packages] = side.seconds(case, loops[case.name], number)
                except CannotRunError as error:
                    failures[case.name] = f"round {number + 1} failed: {error}"
                    break
            else:
                pair = taken[trees.old], taken[trees.new]
                samples.setdefault(case.name, []).append(pair)
    return {name: pairs for name, pairs in samples.items() if name not in failures}, failures


def _end(number: int, _frame: object) -> NoReturn:
    """End as the signal would, but clean up."""
    sys.exit(128 + number)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m bench compare",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("revision", metavar="REV", help="the other revision: HEAD~3, a tag, a hash")
    parser.add_argument(
        "name",
        nargs="*",
        default=[],  # or argparse calls it required
        metavar="NAME",
        help="a benchmark or a pattern; 'python -m bench micro --list' prints them",
    )
    parser.add_argument(
        "--rounds", type=_rounds, metavar="N", help="turns of each side (default: what they need)"
    )
    parser.add_argument(
        "--fail-slower",
        type=_percent,
        metavar="PERCENT",
        help="exit with status 1 if something is slower by more, with confidence",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _rounds(word: str) -> int:
    with suppress(ValueError):
        if (rounds := int(word)) > 0:
            return rounds
    raise argparse.ArgumentTypeError(f"{word!r} is no number of rounds")


def _percent(word: str) -> float:
    with suppress(ValueError):
        if 0 <= (percent := float(word)) < float("inf"):
            return percent
    raise argparse.ArgumentTypeError(f"{word!r} is no percentage")
