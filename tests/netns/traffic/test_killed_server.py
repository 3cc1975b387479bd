"""A real server that dies while it serves harms nobody but its own clients."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import PATIENCE, until
from tests.netns.modes.site import sha256
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, both, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

    from tests.netns.traffic.site import Family, Site

CURL_FAILURES = {18, 56}
"""curl(1): part of a file was transferred; failure with receiving network data."""


@pytest.fixture
def site() -> Iterator[Site]:
    """Give every test servers of its own, since it kills one."""
    with Lab(name="lvsd-traffic", servers=3) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[8080])
        with running(lab, both(lab, 80, 8080)) as site:
            yield site


def begin(site: Site, family: Family, target: Path) -> Popen[bytes]:
    """Start a download that takes two seconds; return once its first bytes are there."""
    options = ["--limit-rate", "10M", "--max-time", f"{30 * PATIENCE}", "--no-buffer"]
    url = site.url(family, path="/file")
    download = site.lab.client.spawn(["curl", "-sS", *options, "-o", target, url])
    assert until(lambda: target.exists() and target.stat().st_size > 0, PATIENCE_S)
    return download


def test_only_the_clients_of_a_killed_server_get_an_error(site: Site) -> None:
    directory = site.lab.client.directory
    targets = [directory / f"{family}-{number}" for family in FAMILIES for number in range(3)]
    families = [family for family in FAMILIES for _ in range(3)]
    downloads = [  # C B A C B A
        begin(site, family, target) for family, target in zip(families, targets, strict=True)
    ]
    killed = site.lab.servers[1].processes[0]

    os.killpg(killed.pid, signal.SIGKILL)
    statuses = [download.wait(60 * PATIENCE) for download in downloads]

    assert [status in CURL_FAILURES for status in statuses] == [False, True, False] * 2
    whole = [target for target, status in zip(targets, statuses, strict=True) if status == 0]
    sums = {sha256(target) for target in whole}
    assert len(whole) == 4
    assert sums == {sha256(programs.payload(site.lab.client))}


def test_a_server_that_falls_silent_holds_up_only_its_clients(site: Site) -> None:
    directory = site.lab.client.directory
    targets = {
        family: [directory / f"{family}-{number}" for number in range(3)] for family in FAMILIES
    }
    downloads = {
        family: [begin(site, family, target) for target in targets[family]] for family in FAMILIES
    }

    site.lab.servers[0].ip("link set eth0 down")
    statuses = {
        family: [download.wait(60 * PATIENCE) for download in downloads[family][:2]]
        for family in FAMILIES
    }
    for family in FAMILIES:
        downloads[family][2].terminate()
        downloads[family][2].wait(60 * PATIENCE)

    assert list(statuses.values()) == [[0, 0]] * 2
    for family in FAMILIES:
        assert targets[family][2].stat().st_size < programs.FILE_BYTES
