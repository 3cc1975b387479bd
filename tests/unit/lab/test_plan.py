"""The lab on paper: addresses, networks, the commands that make them."""

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


def test_interfaces_come_before_addresses_and_addresses_before_routes() -> None:
    topology = plan.nat(servers=1, mtu=9000)
    full_name = {name: f"x-{name}" for name in build.names(topology)}

    rounds = build.commands(topology, full_name)

    assert [(step.node, step.lines[0]) for step in rounds] == [
        ("client", "link add eth0 mtu 9000 type veth peer name front mtu 9000 netns x-director"),
        ("director", "link add back mtu 9000 type veth peer name eth0 mtu 9000 netns x-server1"),
        ("client", "link set lo up"),
        ("director", "link set lo up"),
        ("server1", "link set lo up"),
        ("client", "route add default via 192.0.2.1 dev eth0 src 192.0.2.100"),
        ("server1", "route add default via 10.0.0.1 dev eth0 src 10.0.0.11"),
    ]


def test_only_a_hosts_first_ipv6_address_is_used_unasked() -> None:
    topology = plan.nat(servers=1, mtu=1500)
    full_name = {name: name for name in build.names(topology)}

    lines = [line for step in build.commands(topology, full_name) for line in step.lines]
    preferred = [
        line for line in lines if "2001:db8:1::1" in line and "preferred_lft 0" not in line
    ]

    assert [line.split()[2] for line in preferred if line.startswith("address")] == [
        "2001:db8:1::100/64",
        "2001:db8:1::1/64",
    ]
