"""Randomness that comes again: every lot is drawn from a seed."""

from __future__ import annotations

from random import Random


def lots(*key: object) -> Random:
    """Return a source of random numbers; the same for the same key, which says what for."""
    return Random(" ".join(map(str, key)))  # noqa: S311 - to be repeated, not to be secret
