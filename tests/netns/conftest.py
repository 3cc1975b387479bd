"""What holds for all tests that move packets."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.netns.io.hosts import MTU, built
from tests.netns.traffic.site import FAMILIES
from tests.quick_start import quick_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.hosts import Row
    from tests.netns.traffic.site import Family


HERE = "tests/netns/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what moves packets, and skip it with a reason where it cannot."""
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker("netns")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root: run `sudo make netns`"))


@pytest.fixture(scope="session", autouse=True)
def _quick_starts() -> Iterator[None]:
    """Start lvsd without loading it each time."""
    with quick_starts(at_once=True):
        yield


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test on IPv4 and on IPv6."""
    chosen: Family = request.param
    return chosen


@pytest.fixture(scope="session")
def hosts() -> Iterator[Row]:
    """Three connected hosts."""
    with built() as row:
        yield row


@pytest.fixture
def row(hosts: Row) -> Iterator[Row]:
    """Run the test inside the director, whose ruleset is empty and whose links have MTU 1500.

    So lvsd's own code runs in the director, and the test sees all of it; sockets of the other
    hosts are opened by a short visit there.
    """
    with hosts.director.entered():
        try:
            yield hosts
        finally:
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            hosts.set_mtu(MTU)
