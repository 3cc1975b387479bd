"""curl, nginx and what they send each other through the director."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import programs
from tests.netns.modes.site import sha256
from tests.netns.traffic.crowd import crowd
from tests.netns.traffic.site import both, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PARALLEL = 300


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """One web site, VIP:80, on nginx's port 8080."""
    with running(web_lab, both(web_lab, 80, 8080)) as site:
        yield site


def test_a_web_page_comes_from_a_server_that_sees_the_client(site: Site, family: Family) -> None:
    answer = site.get(family, source=7)

    assert answer.server in {"server1", "server2", "server3"}
    assert answer.seen == site.source(family, 7)


def test_twenty_megabytes_come_down_unharmed(site: Site, family: Family) -> None:
    client = site.lab.client
    target = client.directory / f"down-{family}"

    client.run(["curl", "-sS", "--fail", "-o", target, site.url(family, path="/file")])

    assert target.stat().st_size == programs.FILE_BYTES
    assert sha256(target) == sha256(programs.payload(client))


def test_twenty_megabytes_go_up_unharmed(site: Site, family: Family) -> None:
    name = f"up-{family}"
    sent = programs.payload(site.lab.client)
    target = site.url(family, path=f"/upload/{name}")

    site.lab.client.run(["curl", "-sS", "--fail", "-T", sent, target])

    kept = [programs.uploaded(server, name) for server in site.lab.servers]
    [found] = [path for path in kept if path.exists()]
    assert sha256(found) == sha256(sent)


def test_requests_of_one_connection_stay_with_one_server(site: Site, family: Family) -> None:
    urls = [site.url(family)] * 20

    answers = site.lab.client.run(["curl", "-sS", *urls]).stdout.split()[::2]

    assert len(answers) == 20
    assert len(set(answers)) == 1


def test_three_hundred_connections_at_once_all_succeed(site: Site, family: Family) -> None:
    active, answers = asyncio.run(crowd(site, family, 80, PARALLEL))

    assert active == PARALLEL
    shares = {name: answers.count(name) for name in sorted(set(answers))}
    assert shares == {"server1": 100, "server2": 100, "server3": 100}


def test_curl_fetches_three_hundred_pages_in_parallel(site: Site, family: Family) -> None:
    target = site.url(family) + f"?[1-{PARALLEL}]"
    curl = ["curl", "--no-progress-meter", "--fail", "-o", "/dev/null", "-w", "%{http_code}\n"]
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", str(PARALLEL)]

    fetched = site.lab.client.run([*curl, *parallel, target])

    assert fetched.stdout.split() == ["200"] * PARALLEL
