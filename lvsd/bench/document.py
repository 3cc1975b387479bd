"""The results as JSON: what was asked for, on which machine, and every figure with its values.

The keys, of which a part that was not measured is empty::

    format        2; another number when a key goes or changes its meaning
    lvsd, python  versions
    machine       {"processors", "system", "architecture"}
    parameters    what was asked for, with the seeds
    speed         [{"scheduler", "servers", "picks_per_s": E}]; its values are of turns
    memory        [{"scheduler", "servers", "empty_bytes", "full_bytes", "bytes_per_server"}]
    quality       [{"scheduler", "weight_factors", "jain": E, "elsewhere": E, "refused": E,
                    "imbalance_p50": E, "imbalance_p99": E, "imbalance_max": E,
                    "moved_unchanged": E, "moved_removed": E, "moved_added": E,
                    "recovered_s": E or null, "recovered_seeds", "worst_run": E,
                    "ratios", "imbalances"}]; its values are of seeds, shares are of 1
    simulation    {"ideal_moves", "active", "recovery_window_s"}, by seed the first two

E is an estimate, ``{"mean", "half_width", "values"}``, whose 95% confidence interval is mean ±
half_width, null for a single value. Samples without a connection are null in ``imbalances``; where
all of the measured part are, jain and imbalance_* say nothing.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from lvsd import __version__

if TYPE_CHECKING:
    from lvsd.bench.schedulers import Results, Selection

FORMAT: Final = 2


def document(selection: Selection, results: Results) -> dict[str, Any]:
    """Return everything for JSON."""
    return {
        "format": FORMAT,
        "lvsd": __version__,
        "python": platform.python_version(),
        "machine": {
            "processors": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
        },
        "parameters": _parameters(selection),
        "speed": [asdict(each) for each in results.speed],
        "memory": [asdict(each) for each in results.memory],
        "quality": [asdict(each) for each in results.quality],
        "simulation": {
            "ideal_moves": results.ideal_moves,
            "active": results.active,
            "recovery_window_s": results.window_s,
        },
    }


def _parameters(selection: Selection) -> dict[str, Any]:
    return {
        "schedulers": [candidate.typed for candidate in selection.candidates],
        "parts": selection.parts,
        "servers": selection.servers,
        "simulated": selection.simulated,
        "weights": selection.weights.text,
        "seeds": selection.seeds,
        "workload": selection.workload,
        "trace": None if selection.trace is None else str(selection.trace),
        "load": None if selection.trace else selection.load,
        "lifetime_s": None if selection.trace else selection.lifetime_s,
        "duration_s": selection.duration_s,
        "linger_s": selection.linger_s,
        "turns": selection.turns,
    }
