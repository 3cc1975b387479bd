"""Labs for the tests of the lab itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything here without root."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="network namespaces need root: run pytest as root")
    for item in items:
        if item.get_closest_marker("netns"):
            item.add_marker(skip)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a lab whose director forwards as a plain router, without balancing."""
    with Lab(name="lvsd-test", servers=2) as lab:
        lab.director.sysctl("net.ipv4.ip_forward", "1")
        lab.director.sysctl("net.ipv6.conf.all.forwarding", "1")
        yield lab
