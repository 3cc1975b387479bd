"""Each way's server stands where the plan has it, and packets take the way they should."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.plan import WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace

FAMILIES = ["v4", "v6"]
PINGS = 5


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    """Build a lab with a server of each way, whose director forwards as a plain router."""
    with Lab(name="lvsd-test", ways=WAYS, far_mtu=1400) as lab:
        lab.director.sysctl("net.ipv4.ip_forward", "1")
        lab.director.sysctl("net.ipv6.conf.all.forwarding", "1")
        yield lab


def server(lab: Lab, way: str) -> Namespace:
    return next(space for space in lab.servers if space.way == way)


def reaches(origin: Namespace, target: str, *options: str) -> bool:
    ping = ["ping", "-n", "-q", "-i", "0.01", "-c", str(PINGS), "-W", "2", *options, target]
    return f" {PINGS} received" in origin.run(ping, check=False).stdout


def test_a_switch_forgets_nobody_while_a_lab_stands(mixed: Lab) -> None:
    """A host that has sent nothing for so long would have its packets sent to all others, too."""
    listed = subprocess.run(
        ["ip", "-n", f"{mixed.name}-switch", "-d", "-j", "link", "show", "type", "bridge"],
        check=True,
        capture_output=True,
    ).stdout

    bridges = [link["linkinfo"]["info_data"] for link in json.loads(listed)]
    assert {bridge["ageing_time"] for bridge in bridges} == {24 * 3600 * 100}


def test_only_a_hosts_first_ipv6_address_is_used_unasked(mixed: Lab) -> None:
    listed = mixed.client.run(["ip", "-j", "-6", "address", "show", "eth0"])

    (interface,) = json.loads(listed.stdout)
    found = [each for each in interface["addr_info"] if each["scope"] == "global"]
    unasked = [each["local"] for each in found if not each.get("deprecated")]
    assert unasked == [mixed.client.addresses.v6]
    assert len(found) == len(mixed.client.sources)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("origin", ["client", "director", "router"])
def test_everybody_reaches_every_real_server(
    mixed: Lab, origin: str, family: str, way: str
) -> None:
    target = getattr(server(mixed, way).addresses, family)

    assert reaches(getattr(mixed, origin), target)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_real_server_reaches_the_directors_local_addresses(
    mixed: Lab, family: str, way: str
) -> None:
    found = [reaches(server(mixed, way), getattr(pair, family)) for pair in mixed.local_addresses]

    assert found == [True, True]


@pytest.mark.parametrize(
    ("way", "gateway"), [("nat", "director"), ("dr", "router"), ("tun", "router")]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_to_the_client_takes_the_servers_own_gateway(
    mixed: Lab, family: str, way: str, gateway: str
) -> None:
    client = getattr(mixed.client.addresses, family)
    links = getattr(mixed, gateway).node.links
    legs = [getattr(link.addresses[0], family) for link in links]

    way_out = server(mixed, way).run(["ip", "route", "get", client]).stdout

    assert way_out.split()[way_out.split().index("via") + 1] in legs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("way", "gateway"), [("nat", "director"), ("dr", "router"), ("tun", "router")]
)
def test_the_client_gets_its_replies_from_the_servers_gateway(
    mixed: Lab, way: str, family: str, gateway: str
) -> None:
    target = getattr(server(mixed, way).addresses, family)
    assert reaches(mixed.client, target)  # from now on everybody knows their neighbours

    crossed = {name: getattr(mixed, name).crossed("front") for name in ("director", "router")}
    reaches(mixed.client, target)
    crossed = {name: getattr(mixed, name).crossed("front") - was for name, was in crossed.items()}

    assert crossed["director"].received >= PINGS
    assert [name for name, now in crossed.items() if now.sent >= PINGS] == [gateway]


def test_the_router_sends_what_is_for_the_virtual_address_to_the_director(mixed: Lab) -> None:
    for vip, director in (
        (mixed.vip.v4, mixed.director.addresses.v4),
        (mixed.vip.v6, mixed.director.addresses.v6),
    ):
        assert f"via {director}" in mixed.router.run(["ip", "route", "get", vip]).stdout


def test_too_long_for_the_far_network_is_said_by_the_router(mixed: Lab) -> None:
    target = server(mixed, "tun").addresses.v4

    ping = ["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1400", target]
    said = mixed.director.run(ping, check=False).stdout

    assert f"From {mixed.router.interface('back').v4} " in said
    assert "mtu = 1400" in said


def test_a_lab_of_nat_alone_has_no_router() -> None:
    with Lab(name="lvsd-test", servers=1) as lab:
        assert [host.host for host in lab.hosts] == ["client", "director", "server1"]
        with pytest.raises(LookupError):
            _ = lab.router


@pytest.mark.parametrize("way", ["dr", "tun", "fullnat"])
def test_a_lab_of_one_way_alone_stands(way: str) -> None:
    with Lab(name="lvsd-test", ways=(way,) * 2) as lab:
        for space in lab.servers:
            assert reaches(lab.director, space.addresses.v6)
            assert reaches(space, lab.router.interface("front").v4)
