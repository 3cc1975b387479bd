"""What the doctor's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.doctor.site import clinic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.doctor.site import Clinic


@pytest.fixture(scope="module")
def mixed() -> Iterator[Clinic]:
    """Share a director with a server of each mode; a test that makes a fault mends it."""
    with clinic(("nat", "dr", "tun", "fullnat")) as standing:
        yield standing
