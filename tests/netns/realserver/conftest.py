"""A real server with a neighbour, fresh for every test."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.netns.realserver.site import built

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.realserver.site import Site


ONE_AT_A_TIME = Path("/run/lock/lvsd-tests-toa")
"""Locked by tests that look at all cgroups of the machine, or change what is attached there."""


@pytest.fixture(scope="module", autouse=True)
def _alone_with_toa(request: pytest.FixtureRequest) -> Iterator[None]:
    """Wait until no other run of the tests is at TOA."""
    if not request.path.name.startswith("test_toa") or os.geteuid() != 0:
        yield
        return
    ONE_AT_A_TIME.parent.mkdir(parents=True, exist_ok=True)
    with ONE_AT_A_TIME.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Build the hosts, the server not set up yet."""
    with built(tmp_path / "state") as site:
        yield site
