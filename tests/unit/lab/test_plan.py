"""The lab on paper: addresses and networks."""

from __future__ import annotations

import pytest

from lvsd.errors import UsageError
from lvsd.lab import build, plan
from lvsd.lab.plan import Addresses


def test_a_host_has_the_same_digits_in_both_families() -> None:
    assert plan.BACK.host(11) == Addresses("10.0.0.11", "fd00:10::11")
    assert plan.FRONT.host(120) == Addresses("192.0.2.120", "2001:db8:1::120")


def test_nat_puts_the_director_between_client_and_servers() -> None:
    topology = plan.nat(servers=2, mtu=1500)

    found = {
        (node.name, link.interface): link.addresses[0].v4
        for node in topology.nodes
        for link in node.links
    }

    assert found == {
        ("client", "eth0"): "192.0.2.100",
        ("director", "front"): "192.0.2.1",
        ("director", "back"): "10.0.0.1",
        ("server1", "eth0"): "10.0.0.11",
        ("server2", "eth0"): "10.0.0.12",
    }


def test_everybody_but_the_director_has_the_director_as_gateway() -> None:
    topology = plan.nat(servers=1, mtu=1500)

    gateways = {node.name: node.gateway for node in topology.nodes}

    assert gateways == {
        "client": Addresses("192.0.2.1", "2001:db8:1::1"),
        "director": None,
        "server1": Addresses("10.0.0.1", "fd00:10::1"),
    }


def test_the_client_has_twenty_further_addresses() -> None:
    client = plan.nat(servers=1, mtu=1500).nodes[0]

    numbers = [int(pair.v4.rpartition(".")[2]) for pair in client.links[0].addresses]

    assert numbers == list(range(100, 121))


def test_the_virtual_address_lies_in_none_of_the_networks() -> None:
    topology = plan.nat(servers=1, mtu=1500)

    assert [net.name for net in topology.networks if topology.vip == net.host(10)] == []


def test_the_most_servers_still_have_addresses_of_their_own() -> None:
    topology = plan.nat(servers=plan.MAX_SERVERS, mtu=1500)

    addresses = {node.addresses for node in topology.nodes}

    assert len(addresses) == plan.MAX_SERVERS + 2


@pytest.mark.parametrize("servers", [0, -1, plan.MAX_SERVERS + 1])
def test_a_number_of_servers_out_of_range_is_refused(servers: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 200 real servers, not {servers}"):
        plan.nat(servers=servers, mtu=1500)


@pytest.mark.parametrize("mtu", [1279, 65536])
def test_an_mtu_out_of_range_is_refused(mtu: int) -> None:
    with pytest.raises(UsageError, match=f"1280 to 65535 bytes, not {mtu}"):
        plan.nat(servers=1, mtu=mtu)


def test_two_members_need_no_bridge() -> None:
    topology = plan.nat(servers=1, mtu=1500)

    assert topology.bridged == ()
    assert build.names(topology) == ["client", "director", "server1"]


def test_three_members_share_a_bridge_in_a_namespace_of_its_own() -> None:
    topology = plan.nat(servers=2, mtu=1500)

    assert topology.bridged == (plan.BACK,)
    assert build.names(topology) == ["client", "director", "server1", "server2", "switch"]


MIXED = ("nat", "dr", "tun", "fullnat")


def of_each(topology: plan.Topology, what: str) -> dict[str, object]:
    return {node.name: getattr(node, what) for node in topology.nodes}


def test_a_lab_of_nat_alone_has_no_router() -> None:
    assert plan.modes(("nat",) * 3, mtu=1500) == plan.nat(servers=3, mtu=1500)
    assert "router" not in of_each(plan.nat(servers=3, mtu=1500), "name")


def test_each_way_puts_its_server_where_it_belongs() -> None:
    topology = plan.modes(MIXED, mtu=1500)

    assert of_each(topology, "addresses") == {
        "client": Addresses("192.0.2.100", "2001:db8:1::100"),
        "director": Addresses("192.0.2.1", "2001:db8:1::1"),
        "router": Addresses("192.0.2.254", "2001:db8:1::254"),
        "server1": Addresses("10.0.0.11", "fd00:10::11"),
        "server2": Addresses("10.0.0.12", "fd00:10::12"),
        "server3": Addresses("10.1.0.13", "fd00:11::13"),
        "server4": Addresses("10.1.0.14", "fd00:11::14"),
    }


def test_only_a_server_of_nat_has_the_director_as_its_gateway() -> None:
    topology = plan.modes(MIXED, mtu=1500)

    assert of_each(topology, "gateway") == {
        "client": Addresses("192.0.2.1", "2001:db8:1::1"),
        "director": None,
        "router": None,
        "server1": Addresses("10.0.0.1", "fd00:10::1"),
        "server2": Addresses("10.0.0.254", "fd00:10::254"),
        "server3": Addresses("10.1.0.254", "fd00:11::254"),
        "server4": Addresses("10.1.0.254", "fd00:11::254"),
    }


def test_real_servers_know_their_way() -> None:
    ways = of_each(plan.modes(MIXED, mtu=1500), "way")

    assert [way for way in ways.values() if way] == list(MIXED)


def test_the_director_reaches_the_far_network_by_the_router() -> None:
    director = plan.modes(("tun",), mtu=1500).nodes[1]

    assert director.routes == (
        plan.Route(
            Addresses("10.1.0.0/24", "fd00:11::/64"),
            Addresses("10.0.0.254", "fd00:10::254"),
            "back",
        ),
    )


def test_the_router_has_no_leg_where_nobody_is() -> None:
    names = [network.name for network in plan.modes(("nat", "dr"), mtu=1500).networks]

    assert names == ["front", "back"]


@pytest.mark.parametrize(
    ("ways", "addresses"),
    [
        (("dr", "tun", "nat"), []),
        (("fullnat",), [("10.0.0.2", "fd00:10::2"), ("10.0.0.3", "fd00:10::3")]),
    ],
)
def test_the_director_has_local_addresses_where_there_is_fullnat(
    ways: tuple[str, ...], addresses: list[tuple[str, str]]
) -> None:
    topology = plan.modes(ways, mtu=1500)
    director = topology.nodes[1]

    assert [(pair.v4, pair.v6) for pair in topology.local_addresses] == addresses
    assert director.links[1].addresses[1:] == topology.local_addresses


def test_the_far_network_can_have_a_smaller_mtu() -> None:
    topology = plan.modes(("dr", "tun"), mtu=1500, far_mtu=1400)

    assert [topology.mtu_of(network) for network in topology.networks] == [1500, 1500, 1400]


@pytest.mark.parametrize("far_mtu", [1279, 1501])
def test_a_far_mtu_out_of_range_is_refused(far_mtu: int) -> None:
    with pytest.raises(UsageError, match=f"far MTU of a lab is 1280 to 1500 bytes, not {far_mtu}"):
        plan.modes(("tun",), mtu=1500, far_mtu=far_mtu)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="one of nat, dr, tun, fullnat, not 'magic'"):
        plan.modes(("magic",), mtu=1500)
