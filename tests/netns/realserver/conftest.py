"""A real server with a neighbour, fresh for every test."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from lvsd.realserver.toa.cgroups import tree
from tests.netns.realserver.site import built

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.netns.realserver.site import Site


@pytest.fixture(scope="module", autouse=True)
def _alone_with_toa(request: pytest.FixtureRequest) -> Iterator[None]:
    """Wait until no other run of the tests is at TOA.

    They look at all cgroups of the machine, and change what is attached there. What they lock is
    a file of the root of these: another run may be in a root directory of its own, but has the
    same cgroups. (lvsd locks the cgroup itself.)
    """
    if not request.path.name.startswith("test_toa") or os.geteuid() != 0:
        yield
        return
    with tree() as cgroups, (cgroups.path / "cgroup.controllers").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Build the hosts, the server not set up yet."""
    with built(tmp_path / "state") as site:
        yield site
