"""The filter for the packets of a lab's service, whatever the ways to its real servers are."""

from __future__ import annotations

import pytest

from lvsd.lab.plan import WAYS
from lvsd.lab.windows import packets


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        (["nat"], "port 80 or port 8080"),
        (["dr"], "port 80"),
        (["tun"], "port 80 or ip proto 4 or ip6 proto 41"),
        (["fullnat"], "port 80 or port 8080"),
        (WAYS, "port 80 or port 8080 or ip proto 4 or ip6 proto 41"),
    ],
)
def test_the_filter_shows_the_service_at_every_hop(ways: list[str], expected: str) -> None:
    assert packets(ways) == expected
