"""What holds for all tests that move packets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what moves packets, and skip it with a reason where it cannot."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("netns")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root: run `sudo make netns`"))
