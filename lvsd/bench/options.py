"""The command line of ``lvsd bench schedulers``: what to measure, or a UsageError."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.bench import weights as weighing
from lvsd.bench import workloads
from lvsd.bench.schedulers import PARTS, QUALITY, Selection
from lvsd.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SERVERS: Final = "10,100,1000,10000"
MOST_SERVERS: Final = 100_000
MOST_SIZES: Final = 12
SIMULATED: Final = 100
"""More servers are not simulated unless it is asked for."""
MOST_SIMULATED: Final = 10_000
SEEDS: Final = 10
MOST_SEEDS: Final = 1000
LAST_SEED: Final = 2**32 - 1
TRACE: Final = "trace"
DEFAULTS: Final = {"load": 10, "lifetime": 10, "linger": 10, "duration": 300, "turns": 5}
SHORTEST_S, LONGEST_S = 10.0, 1e7
MOST_TURNS: Final = 1000
MOST_CONNECTIONS: Final = 1_000_000
NAMES: Final = "all | wlc,rr | package.module:Class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all options."""
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--scheduler",
        default="all",
        metavar="NAMES",
        help=f"{NAMES}, which is imported, also from here (default all)",
    )
    what.add_argument(
        "--measure",
        default=",".join(PARTS),
        metavar="PARTS",
        help=f"some of {','.join(PARTS)} (default all)",
    )
    farm = parser.add_argument_group("the real servers")
    farm.add_argument(
        "--servers",
        default=SERVERS,
        metavar="N,N",
        help=f"how many, for speed and memory (default {SERVERS})",
    )
    farm.add_argument(
        "--simulate",
        metavar="N",
        help=f"how many in the simulation (default the first of --servers, but at most"
        f" {SIMULATED})",
    )
    farm.add_argument(
        "--weights",
        default="1-10",
        metavar="SPEC",
        help="one weight (5), a range to draw from (1-10, the default), a pattern (3,2,1)",
    )
    clients = parser.add_argument_group("the simulation")
    clients.add_argument(
        "--workload",
        nargs="+",
        metavar="NAME",
        help=f"{' | '.join(workloads.KINDS)} | trace FILE (default steady)",
    )
    clients.add_argument(
        "--load",
        metavar="L",
        help=f"mean of active connections per unit of weight (default {DEFAULTS['load']})",
    )
    clients.add_argument(
        "--lifetime",
        metavar="SECONDS",
        help=f"mean of a connection's lifetime (default {DEFAULTS['lifetime']})",
    )
    clients.add_argument(
        "--linger",
        metavar="SECONDS",
        help="how long a connection is inactive before it is forgotten:"
        f" {DEFAULTS['linger']} as after RST, the default, or 120 as in TIME_WAIT",
    )
    clients.add_argument(
        "--duration",
        metavar="SECONDS",
        help=f"virtual time of a run (default {DEFAULTS['duration']}, or all of a trace)",
    )
    seeds = clients.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", metavar="N", help=f"the seeds from 1 to N (default {SEEDS})")
    seeds.add_argument("--seed", metavar="N", help="this seed only: no confidence intervals")
    clients.add_argument(
        "--turns", metavar="N", help=f"turns per figure of speed (default {DEFAULTS['turns']})"
    )


def selection(options: argparse.Namespace) -> Selection:
    """Return what the options ask for. Raise UsageError or PluginError."""
    from lvsd.bench.plugins import chosen  # noqa: PLC0415 - what is wrong is said without it

    servers = _sizes(options.servers)
    weights = weighing.parse(options.weights)
    simulated = _simulated(options.simulate, servers, weights)
    parts = _parts(options.measure)
    workload, trace = _workload(options)
    numbers = _numbers(options, workload)
    weighing.check_fit(weights, [*servers, simulated])
    simulates = QUALITY in parts
    if simulates and simulated < 2:
        raise UsageError(
            "a simulation takes 2 servers or more, since one of them fails; give --simulate N, or"
            " --measure speed,memory"
        )
    seeds = _seeds(options)
    traced: Sequence[workloads.Arrival] = ()
    if trace is not None and simulates:
        traced, numbers["duration_s"] = _traced(trace, options.duration)
    elif simulates:
        _check_amount(workload, simulated, weights, seeds, numbers)
    return Selection(
        candidates=tuple(chosen(options.scheduler)),
        parts=parts,
        servers=tuple(servers),
        simulated=simulated,
        weights=weights,
        seeds=seeds,
        workload=workload,
        trace=trace,
        traced=traced,
        **numbers,
    )


def whole(option: str, text: str, least: int, most: int) -> int:
    """Return a number that was typed. Raise UsageError with what is allowed."""
    if not re.fullmatch(r"[+-]?\d{1,12}", text) or not least <= int(text) <= most:
        raise UsageError(f"{option} {text!r}: a whole number from {least} to {most:,} is allowed")
    return int(text)


def _real(option: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UsageError(f"{option} {text!r}: a number from {least:g} to {most:g} is allowed")
    return value


def _sizes(text: str) -> list[int]:
    sizes = [whole("--servers", word, 1, MOST_SERVERS) for word in text.split(",")]
    if len(sizes) > MOST_SIZES:
        raise UsageError(f"--servers: {len(sizes)} numbers; {MOST_SIZES} are allowed at most")
    return list(dict.fromkeys(sizes))


def _simulated(text: str | None, servers: list[int], weights: weighing.Weights) -> int:
    if text is not None:
        return whole("--simulate", text, 2, MOST_SIMULATED)
    if servers[0] <= SIMULATED:
        return servers[0]
    length = len(weights.pattern)
    return max(length, SIMULATED - SIMULATED % length) if length else SIMULATED


def _parts(text: str) -> tuple[str, ...]:
    words = text.split(",")
    unknown = [word for word in words if word not in PARTS]
    if unknown:
        raise UsageError(f"--measure {unknown[0]!r}: there are {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in words)


def _workload(options: argparse.Namespace) -> tuple[str, Path | None]:
    words: list[str] = options.workload or [workloads.KINDS[0]]
    name, *rest = words
    if name not in {*workloads.KINDS, TRACE}:
        kinds = ", ".join(workloads.KINDS)
        raise UsageError(f"--workload {name!r}: there are {kinds}, and trace FILE")
    if len(rest) > (name == TRACE):
        raise UsageError(f"--workload {' '.join(words)}: nothing may follow {words[-2]}")
    if name == TRACE and not rest:
        raise UsageError("--workload trace: say which file: --workload trace FILE")
    return name, Path(rest[0]) if rest else None


def _numbers(options: argparse.Namespace, workload: str) -> dict[str, Any]:
    for option in ("load", "lifetime"):
        if workload == TRACE and getattr(options, option) is not None:
            raise UsageError(f"--{option} does not go with a trace, which has its own")
    load, lifetime, linger, duration, turns = (
        str(default) if (text := getattr(options, option)) is None else text
        for option, default in DEFAULTS.items()
    )
    return {
        "load": _real("--load", load, 0.01, 1e6),
        "lifetime_s": _real("--lifetime", lifetime, 0.001, LONGEST_S),
        "linger_s": _real("--linger", linger, 0, LONGEST_S),
        "duration_s": _real("--duration", duration, SHORTEST_S, LONGEST_S),
        "turns": whole("--turns", turns, 2, MOST_TURNS),
    }


def _seeds(options: argparse.Namespace) -> tuple[int, ...]:
    if options.seed is not None:
        return (whole("--seed", options.seed, 0, LAST_SEED),)
    count = SEEDS if options.seeds is None else whole("--seeds", options.seeds, 1, MOST_SEEDS)
    return tuple(range(1, 1 + count))


def _traced(path: Path, duration: str | None) -> tuple[Sequence[workloads.Arrival], float]:
    """Return a trace's arrivals, and how long they take or are let to take."""
    from lvsd.bench.trace import read  # noqa: PLC0415 - only this needs it

    arrivals = read(path)
    if duration is not None:
        duration_s = _real("--duration", duration, SHORTEST_S, LONGEST_S)
        if arrivals[0].at_s >= duration_s:
            raise UsageError(
                f"--duration {duration}: the trace's first arrival is at {arrivals[0].at_s:g} s"
            )
        return arrivals, duration_s
    last_s = arrivals[-1].at_s
    if last_s < SHORTEST_S:
        raise UsageError(
            f"{path}: the last arrival is at {last_s:g} s; a simulation takes {SHORTEST_S:g} s or"
            " more: give --duration"
        )
    return arrivals, last_s


def _check_amount(
    workload: str,
    servers: int,
    weights: weighing.Weights,
    seeds: tuple[int, ...],
    numbers: dict[str, Any],
) -> None:
    """Raise UsageError when a run has more connections than anybody would wait for."""
    heft = sum(weights.deal(servers, seeds[0]))
    count = workloads.expected(
        workload,
        active=numbers["load"] * heft,
        lifetime_s=numbers["lifetime_s"],
        duration_s=numbers["duration_s"],
    )
    if count > MOST_CONNECTIONS:
        raise UsageError(
            f"the simulation would have {count:,.0f} connections a run, {MOST_CONNECTIONS:,} are"
            " allowed: give fewer servers (--simulate), smaller --weights, a lower --load, a"
            " shorter --duration or a longer --lifetime"
        )
