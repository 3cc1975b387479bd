"""What holds for all tests that move packets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.netns.traffic.site import FAMILIES

if TYPE_CHECKING:
    from tests.netns.traffic.site import Family


HERE = "tests/netns/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what moves packets, and skip it with a reason where it cannot."""
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker("netns")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root: run `sudo make netns`"))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test on IPv4 and on IPv6."""
    chosen: Family = request.param
    return chosen
