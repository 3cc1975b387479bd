"""Which clients stay with their server, over several connections and ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab import programs
from tests.netns.traffic.site import FAMILIES, balanced, both, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

BY_CLIENT, BY_NETWORK = 80, 81
"""Ports: persistence for each client, and for each network of clients."""

ANY_PORT = 90, 91
"""Ports that only the any-port service takes."""

PREFIX = {"v4": 24, "v6": 64}
"""Bits that all of the client's addresses have in common."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Three kinds of persistent services, on both virtual addresses."""
    for server in lab.servers:
        programs.nginx(server, ports=[8080, *ANY_PORT])
    by_network = [
        balanced(
            lab,
            family,
            BY_NETWORK,
            8080,
            persistence_s=300,
            persistence_netmask=PREFIX[family],
        )
        for family in FAMILIES
    ]
    with running(
        lab,
        both(lab, BY_CLIENT, 8080, persistence_s=300),
        both(lab, 0, 0, persistence_s=300),
        *by_network,
    ) as site:
        yield site


def test_a_client_stays_with_its_server(site: Site, family: Family) -> None:
    first, second, third = (site.visits(family, BY_CLIENT, 4, source) for source in (1, 2, 3))

    assert [len(set(visits)) for visits in (first, second, third)] == [1, 1, 1]
    assert {first[0], second[0], third[0]} == {"server1", "server2", "server3"}


def test_all_clients_of_one_network_share_a_server(site: Site, family: Family) -> None:
    answers = {site.get(family, BY_NETWORK, source).server for source in range(6)}

    assert len(answers) == 1


def test_a_client_keeps_its_server_on_every_port(site: Site, family: Family) -> None:
    answers = [
        {site.get(family, port, source).server for port in (*ANY_PORT, *ANY_PORT)}
        for source in range(3)
    ]

    assert [len(servers) for servers in answers] == [1, 1, 1]
    assert set.union(*answers) == {"server1", "server2", "server3"}


def test_templates_are_listed_with_their_own_port_zero(site: Site, family: Family) -> None:
    client = site.source(family, 9)
    site.get(family, BY_CLIENT, 9)
    site.get(family, ANY_PORT[0], 9)

    mine = [entry for entry in site.connections if entry["client"] == client]

    templates = {entry["virtual_port"] for entry in mine if entry["template"]}
    assert templates == {BY_CLIENT, 0}
    assert {entry["client_port"] for entry in mine if entry["template"]} == {0}
