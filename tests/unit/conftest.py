"""What holds for all unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.quick_start import quick_starts

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _quick_starts() -> Iterator[None]:
    """Start lvsd without loading it each time."""
    with quick_starts(at_once=False):
        yield
