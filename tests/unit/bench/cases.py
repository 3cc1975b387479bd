"""Small cases for tests: what is simulated, and what the command says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.bench.plugins import chosen
from lvsd.bench.quality import Case, Figures, figures
from lvsd.bench.workloads import arrivals

if TYPE_CHECKING:
    from collections.abc import Sequence

DURATION_S = 100.0


def case(
    weights: Sequence[int] = (3, 1, 2, 4), kind: str = "steady", seed: int = 1, load: float = 10.0
) -> Case:
    """Return a case of 100 s of virtual time."""
    coming = arrivals(
        kind,
        active=load * sum(weights),
        lifetime_s=5.0,
        duration_s=DURATION_S,
        seed=seed,
    )
    return Case(seed, tuple(weights), coming, DURATION_S, linger_s=10.0)


def simulated(name: str, what: Case) -> Figures:
    """Return the figures of a built-in scheduler."""
    (candidate,) = chosen(name)
    return figures(candidate, what)
