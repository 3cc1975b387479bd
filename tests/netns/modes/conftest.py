"""What the tests of the four modes share; each module builds the lab that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab.plan import WAYS
from tests.netns.traffic.site import FAMILIES

if TYPE_CHECKING:
    from tests.netns.traffic.site import Family


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test on IPv4 and on IPv6."""
    chosen: Family = request.param
    return chosen


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run the test in every mode."""
    return str(request.param)
