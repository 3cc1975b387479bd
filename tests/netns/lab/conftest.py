"""Labs for the tests of the lab itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a lab whose director forwards as a plain router, without balancing."""
    with Lab(name="lvsd-test", servers=2) as lab:
        lab.director.sysctl("net.ipv4.ip_forward", "1")
        lab.director.sysctl("net.ipv6.conf.all.forwarding", "1")
        yield lab
