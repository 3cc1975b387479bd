"""Labs for real traffic through the whole daemon; each module configures its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs

if TYPE_CHECKING:
    from collections.abc import Iterator


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
