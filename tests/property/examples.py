"""How many examples a property is tried with; the profiles stand in tests/conftest.py."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

FULL: Final = 100
"""The ``max_examples`` of a profile that tries every property as often as its test says."""

FEWEST: Final = 15
"""No profile tries a property less often, unless its test asks for fewer."""


def examples(number: int = FULL, **others: Any) -> settings:
    """Return settings for that many examples, or for the profile's share of them.

    ``others`` are further settings, like ``stateful_step_count``.
    """
    share = number * settings().max_examples // FULL
    return settings(max_examples=max(share, min(number, FEWEST)), **others)
