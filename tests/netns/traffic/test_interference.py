"""Somebody else's hands on the machine while lvsd runs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import until
from tests.netns.traffic.site import Site, balanced, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab

PORT, RPORT = 80, 8080


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """Have one service of three web servers."""
    with running(web_lab, balanced(web_lab, "v4", PORT, RPORT)) as site:
        yield site


def test_the_table_comes_back_after_somebody_flushed_the_ruleset(site: Site) -> None:
    director = site.lab.director
    director.run(["nft", "flush", "ruleset"])
    assert until(lambda: "put it up again" in site.daemon.log)
    assert site.get("v4", PORT).server == "server3"


def test_a_hangup_does_not_end_the_daemon(site: Site) -> None:
    site.daemon.process.send_signal(signal.SIGHUP)
    assert until(lambda: site.call("status")["groups"]["reloads"]["done"] == 1)
    assert site.get("v4", PORT).server == "server2"
