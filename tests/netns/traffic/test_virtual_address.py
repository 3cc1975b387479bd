"""The virtual address is on an interface only where the configuration says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.netns.traffic.site import FAMILIES, balanced, both, of, running

if TYPE_CHECKING:
    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family

PORT, OTHER_PORT = 80, 81


def holders(lab: Lab) -> dict[str, set[str]]:
    """Return the interfaces of the director that have a virtual address, by family."""
    links = json.loads(lab.director.run(["ip", "-j", "address", "show"]).stdout)
    return {
        family: {
            f"{link['ifname']}/{address['prefixlen']}"
            for link in links
            for address in link["addr_info"]
            if address["local"] == of(lab.vip, family)
        }
        for family in FAMILIES
    }


def test_without_a_word_of_it_the_address_is_on_no_interface(web_lab: Lab) -> None:
    with running(web_lab, both(web_lab, PORT, 8080)) as site:
        assert holders(web_lab) == {"v4": set(), "v6": set()}
        for family in FAMILIES:
            assert len(site.visits(family, PORT, 3)) == 3


@pytest.mark.parametrize("interface", ["front", "lo"])
def test_the_address_is_on_the_interface_that_is_named(web_lab: Lab, interface: str) -> None:
    with running(web_lab, both(web_lab, PORT, 8080, interface=interface)) as site:
        during = holders(web_lab)
        for family in FAMILIES:
            assert len(set(site.visits(family, PORT, 3))) == 3

    assert during == {"v4": {f"{interface}/32"}, "v6": {f"{interface}/128"}}
    assert holders(web_lab) == {"v4": set(), "v6": set()}


def test_strict_reverse_path_filtering_is_no_obstacle(web_lab: Lab) -> None:
    director = web_lab.director
    names = [f"net.ipv4.conf.{interface}.rp_filter" for interface in ("all", "front", "back")]
    before = {name: director.sysctl_value(name) for name in names}
    for name in names:
        director.sysctl(name, "1")
    try:
        with running(web_lab, both(web_lab, PORT, 8080, interface="front")) as site:
            assert len(set(site.visits("v4", PORT, 3))) == 3
    finally:
        for name, value in before.items():
            director.sysctl(name, value)


def test_two_services_share_the_address_and_it_goes_once(web_lab: Lab, family: Family) -> None:
    tables = [
        balanced(web_lab, family, port, 8080, interface="front") for port in (PORT, OTHER_PORT)
    ]
    with running(web_lab, *tables) as site:
        assert len(holders(web_lab)[family]) == 1
        assert len(site.visits(family, OTHER_PORT, 2)) == 2

    assert holders(web_lab)[family] == set()


def test_an_address_that_was_there_before_stays(web_lab: Lab, family: Family) -> None:
    prefix = 32 if family == "v4" else 128
    address = f"{of(web_lab.vip, family)}/{prefix}"
    nodad = " nodad" if family == "v6" else ""
    web_lab.director.ip(f"address add {address} dev front{nodad}")
    try:
        with running(web_lab, balanced(web_lab, family, PORT, 8080, interface="front")) as site:
            assert len(site.visits(family, PORT, 2)) == 2
        after = holders(web_lab)[family]
    finally:
        web_lab.director.ip(f"address del {address} dev front")

    assert after == {f"front/{prefix}"}


def test_no_other_port_of_the_director_is_exposed(web_lab: Lab, family: Family) -> None:
    with running(web_lab, both(web_lab, PORT, 8080)) as site:
        # Nothing on the director has this address, so not even a refusal comes from its ports.
        curl = ["curl", "-sS", "--max-time", "1", site.url(family, OTHER_PORT)]
        asked = web_lab.client.run(curl, check=False)

    assert asked.returncode in {7, 28}
    assert asked.stdout == ""
