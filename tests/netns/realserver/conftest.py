"""A real server with a neighbour, fresh for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.realserver.site import built

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.netns.realserver.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Build the hosts, the server not set up yet."""
    with built(tmp_path / "state") as site:
        yield site
