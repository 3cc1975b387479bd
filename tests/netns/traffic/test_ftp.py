"""Passive FTP by persistence on port 21: data connections go where the control connection went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import programs
from lvsd.lab.plan import BACK, DIRECTOR
from tests.netns.traffic.site import FAMILIES, balanced, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

CONTROL, DATA = 21, 40021
"""Ports: FTP's own, and one that a server names for a data connection."""


@pytest.fixture(scope="module")
def ftp_lab(lab: Lab) -> Lab:
    """Have the servers answer on both ports."""
    for server in lab.servers:
        programs.nginx(server, ports=[CONTROL, DATA])
    return lab


@pytest.fixture(scope="module", params=["nat", "fullnat"])
def site(ftp_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Run a persistent service of port 21."""
    local = BACK.host(DIRECTOR)
    options: dict[Family, dict[str, Any]] = {family: {} for family in FAMILIES}
    if request.param == "fullnat":
        options = {family: {"local_addresses": [of(local, family)]} for family in FAMILIES}
    services = (
        balanced(
            ftp_lab,
            family,
            CONTROL,
            CONTROL,
            persistence_s=300,
            forward=request.param,
            **options[family],
        )
        for family in FAMILIES
    )
    with running(ftp_lab, *services) as site:
        yield site


def test_a_data_connection_goes_to_the_server_of_the_control_connection(
    site: Site, family: Family
) -> None:
    for source in range(3):
        answers = {site.get(family, port, source).server for port in (CONTROL, DATA, DATA, CONTROL)}
        assert len(answers) == 1
