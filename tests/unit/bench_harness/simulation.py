"""Timings of two sides on a machine that is no better than real ones."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from bench.inference import Rounds

ROUNDS = 15
NOISE = 0.03
SPOILT = 0.05


def simulated(lots: Random, ratio: float = 1.0) -> Rounds:
    """Return rounds on a machine that drifts by a third, with noise and some spoilt turns."""
    made = []
    for _ in range(ROUNDS):
        machine = lots.uniform(1.0, 1.33)
        old, new = (
            machine * exp(lots.gauss(0, NOISE)) * (2 if lots.random() < SPOILT else 1)
            for _ in range(2)
        )
        made.append((old, new * ratio))
    return made
