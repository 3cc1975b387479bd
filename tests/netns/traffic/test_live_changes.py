"""A running lvsd is changed over its control socket, and the traffic follows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.errors import ControlError
from lvsd.lab.traffic import Visitor
from tests.netns.traffic.site import both, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

PORT, OTHER_PORT, RPORT = 80, 81, 8080


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """One service of NAT per family, with two of three servers."""
    with running(web_lab, both(web_lab, PORT, RPORT, servers=slice(2))) as site:
        yield site


def service(site: Site, family: Family, port: int = PORT, **options: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "address": site.vip(family), "port": port} | options


def server(site: Site, family: Family, number: int, **options: Any) -> dict[str, Any]:
    address = of(site.lab.servers[number - 1].addresses, family)
    return {"address": address, "port": RPORT} | options


def change(site: Site, *commands: dict[str, Any]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = site.call("change", commands=list(commands))["changes"]
    return changes


def answering(site: Site, family: Family, port: int = PORT) -> set[str]:
    """Return which real servers answer a dozen requests."""
    return {site.get(family, port).server for _ in range(12)}


def test_a_service_comes_and_goes_while_connections_of_another_go_on(
    site: Site, family: Family
) -> None:
    new = service(site, family, OTHER_PORT)
    visitor = Visitor(site.lab.client, site.vip(family), PORT)
    with closing(visitor.open(site.source(family))) as held:
        told = change(
            site,
            {"command": "add_service", "service": new | {"scheduler": "rr", "name": "new"}},
            {"command": "add_server", "service": new, "server": server(site, family, 3)},
        )
        assert [each["change"] for each in told] == ["service_added", "server_added"]
        assert answering(site, family, OTHER_PORT) == {"server3"}
        assert held.ask_again() == held.answer.server
        change(site, {"command": "remove_service", "service": new})
        assert new["port"] not in {each["port"] for each in site.services}
        assert held.ask_again() == held.answer.server
    assert answering(site, family) == {"server1", "server2"}


def test_a_server_comes_is_weighted_and_goes(site: Site, family: Family) -> None:
    web, third = service(site, family), server(site, family, 3)
    change(site, {"command": "add_server", "service": web, "server": third})
    assert answering(site, family) == {"server1", "server2", "server3"}
    change(site, {"command": "edit_server", "service": web, "server": third | {"weight": 0}})
    assert answering(site, family) == {"server1", "server2"}
    change(site, {"command": "remove_server", "service": web, "server": third})
    assert answering(site, family) == {"server1", "server2"}


def test_a_list_that_is_refused_changes_nothing(site: Site, family: Family) -> None:
    before = site.services
    new = service(site, family, OTHER_PORT)
    with pytest.raises(ControlError, match="No such service"):
        change(
            site,
            {"command": "add_service", "service": new},
            {"command": "remove_service", "service": service(site, family, 9)},
        )
    after = site.services
    assert [each["port"] for each in after] == [each["port"] for each in before]


def test_who_subscribes_hears_of_every_change(site: Site, family: Family) -> None:
    new = service(site, family, OTHER_PORT)
    with ControlClient(site.daemon.control) as client:
        events = client.events()
        change(site, {"command": "add_service", "service": new})
        change(site, {"command": "remove_service", "service": new})
        first, second = next(events), next(events)
    assert (first["change"], second["change"]) == ("service_added", "service_removed")
    assert first["service"] == second["service"] == new
    assert "uid 0" in first["by"]


def test_a_mode_that_nothing_was_forwarded_by_before_is_served(site: Site, family: Family) -> None:
    new = service(site, family, OTHER_PORT, scheduler="rr")
    local = of(site.lab.director.addresses, family)
    fullnat = server(site, family, 1, forward="fullnat")
    change(
        site,
        {"command": "add_service", "service": new | {"local_addresses": [local]}},
        {"command": "add_server", "service": service(site, family, OTHER_PORT), "server": fullnat},
    )
    assert answering(site, family, OTHER_PORT) == {"server1"}
    change(site, {"command": "remove_service", "service": service(site, family, OTHER_PORT)})
