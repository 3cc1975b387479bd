"""Labs for real traffic through the whole daemon; each module configures its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from tests.netns.traffic.site import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test on IPv4 and on IPv6."""
    chosen: Family = request.param
    return chosen


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a client, a director that nobody has touched, and three real servers."""
    with Lab(name="lvsd-traffic", servers=3) as lab:
        yield lab


@pytest.fixture(scope="module")
def web_lab(lab: Lab) -> Lab:
    """Start nginx on every real server of the lab, on port 8080 only."""
    for server in lab.servers:
        programs.nginx(server, ports=[8080])
    return lab
