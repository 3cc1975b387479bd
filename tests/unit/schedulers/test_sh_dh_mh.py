"""The schedulers that hash an address: sh, dh and mh."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest

from schedulers.base import Server
from schedulers.mh import TABLE_SIZE, populate, preference
from schedulers.weights import Weights
from tests.unit.schedulers.farm import Farm

CLIENTS = [str(ip_address((203 << 24) + serial * 7919)) for serial in range(1000)]


def homes(farm: Farm) -> list[str]:
    """Return the server of each of a thousand clients."""
    return [farm.pick(client, destination=client) for client in CLIENTS]


def moved(before: list[str], after: list[str]) -> int:
    """Return how many clients were at A or C before and are elsewhere now."""
    return sum(old != new for old, new in zip(before, after, strict=True) if old in "AC")


@pytest.mark.parametrize("name", ["sh", "dh", "mh"])
def test_an_address_keeps_its_server(name: str) -> None:
    farm = Farm(name, A=1, B=2, C=3)
    assert homes(farm) == homes(farm)


@pytest.mark.parametrize("name", ["sh", "dh", "mh"])
def test_a_server_of_weight_zero_is_refused_and_its_clients_with_it(name: str) -> None:
    farm = Farm(name, A=1, B=1, C=1)
    before = homes(farm)
    farm.weigh("B", 0)
    assert homes(farm) == [home.replace("B", "-") for home in before]


@pytest.mark.parametrize("name", ["sh", "dh", "mh"])
def test_an_overloaded_server_is_refused_and_taken_back(name: str) -> None:
    farm = Farm(name, A=1, B=1, C=1)
    before = homes(farm)
    farm.overload("B")
    assert homes(farm) == [home.replace("B", "-") for home in before]
    farm.relieve("B")
    assert homes(farm) == before


def test_dh_deals_its_buckets_in_list_order_whatever_the_weights() -> None:
    farm = Farm("dh", A=9, B=1, C=5)
    destinations = ["10.0.0.1", "10.0.0.2", "192.168.0.1", "203.0.113.7", "2001:db8::1"]
    picked = "".join(farm.pick(destination=destination) for destination in destinations)
    assert picked == "".join("CBA"[bucket % 3] for bucket in (39, 137, 192, 124, 63))


def test_sh_gives_a_server_as_many_buckets_in_a_row_as_its_weight() -> None:
    farm = Farm("sh", A=1, B=2, C=1)
    clients = ["10.0.0.1", "10.0.0.2", "192.168.0.1", "203.0.113.7", "2001:db8::1"]
    picked = "".join(farm.pick(client) for client in clients)
    assert picked == "".join("CBBA"[bucket % 4] for bucket in (39, 137, 192, 124, 63))


def test_sh_port_hashes_the_source_port_too() -> None:
    farm = Farm("sh", "sh-port", A=1, B=2, C=1)
    clients = ["10.0.0.1", "10.0.0.2", "192.168.0.1", "203.0.113.7"]
    picked = "".join(farm.pick(client, port=40000) for client in clients)
    assert picked == "".join("CBBA"[bucket % 4] for bucket in (203, 45, 100, 32))


def test_sh_gives_a_server_of_weight_zero_one_bucket_that_refuses() -> None:
    farm = Farm("sh", A=1, B=0)
    assert farm.pick("10.0.0.1") == "A"
    assert farm.pick("192.168.0.1") == "-"


def test_sh_fallback_goes_on_from_twice_the_bucket() -> None:
    """Bucket 39 of CBA is C's; 78 is C's as well, so 79 is the first usable one: B."""
    farm = Farm("sh", "sh-fallback", A=1, B=1, C=1)
    assert farm.pick("10.0.0.1") == "C"
    farm.overload("C")
    assert farm.pick("10.0.0.1") == "B"
    farm.weigh("B", 0)
    assert farm.pick("10.0.0.1") == "A"


def test_sh_deals_anew_when_a_weight_changes() -> None:
    farm = Farm("sh", A=1, B=1)
    assert farm.pick("192.168.0.1") == "B"  # bucket 192 of BABA
    farm.weigh("A", 2)
    assert farm.pick("10.0.0.1") == "B"  # bucket 39 of BAABAA
    assert farm.pick("203.0.113.7") == "A"  # bucket 124


def table(**weights: int) -> dict[bytes, int]:
    """Return how many slots of mh each server has, by address."""
    servers = [Server(bytes((10, 0, 0, ord(name))), 80, weight) for name, weight in weights.items()]
    return Counter(server.address for server in table_of(servers))


def table_of(servers: list[Server]) -> list[Server]:
    """Return the table of these servers, in list order."""
    weights = Weights()
    for server in servers:
        weights.put(server, server.last_weight)
    return populate(servers, weights, {server: preference(server) for server in servers})


def test_mh_shares_its_slots_out_by_weight() -> None:
    slots = table(A=1, B=2, C=5)
    assert sum(slots.values()) == TABLE_SIZE == 4093
    assert {address[-1:]: slots for address, slots in slots.items()} == {
        b"A": 4093 // 8 + 1,
        b"B": 2 * (4093 // 8) + 2,
        b"C": 5 * (4093 // 8) + 2,
    }


def test_mh_shifts_high_weights_until_six_bits_are_left() -> None:
    assert table(A=6400, B=640, C=1) == table(A=6400 >> 7, B=640 >> 7, C=1)


def test_mh_gives_no_slot_to_a_server_whose_weight_was_always_zero() -> None:
    assert table(A=1, B=0).keys() == {bytes((10, 0, 0, ord("A")))}
    assert table_of([Server(bytes(4), 80, 0)]) == []


def test_mh_moves_few_clients_of_other_servers_when_one_leaves_and_sh_moves_many() -> None:
    counts = {}
    for name in ("mh", "sh"):
        farm = Farm(name, A=1, B=1, C=1)
        before = homes(farm)
        farm.remove("B")
        counts[name] = moved(before, homes(farm))
    assert counts["mh"] < 100
    assert counts["sh"] > 300


def test_mh_fallback_moves_only_the_clients_of_the_unusable_server() -> None:
    farm = Farm("mh", "mh-fallback", A=1, B=1, C=1)
    before = homes(farm)
    farm.weigh("B", 0)
    after = homes(farm)
    assert moved(before, after) == 0
    assert set(after) == {"A", "C"}


def test_mh_fallback_gives_up_at_once_when_no_server_is_usable() -> None:
    farm = Farm("mh", "mh-fallback", A=1, B=1)
    farm.overload("A")
    farm.weigh("B", 0)
    assert farm.pick() == "-"
    farm.relieve("A")
    assert farm.pick() == "A"


def test_mh_port_spreads_the_connections_of_one_client() -> None:
    farm = Farm("mh", "mh-port", A=1, B=1, C=1)
    assert {farm.pick(port=port) for port in range(1024, 1064)} == {"A", "B", "C"}


def test_mh_hashes_ipv6_clients() -> None:
    farm = Farm("mh", A=1, B=1, C=1)
    assert {farm.pick(f"2001:db8::{host:x}") for host in range(40)} == {"A", "B", "C"}
