"""What the tests of the four modes share; each module builds the lab that it needs."""

from __future__ import annotations

import pytest

from lvsd.lab.plan import WAYS


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run the test in every mode."""
    return str(request.param)
