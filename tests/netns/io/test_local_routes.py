"""The kernel takes packets to a new address when we say that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.io import addresses, links
from lvsd.io.local_routes import wait_until_local
from lvsd.io.machine import Machine
from lvsd.io.netlink import NETLINK_ROUTE, linked
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.netns.io.hosts import Row

VIP4, VIP6 = pack("198.51.100.7"), pack("2001:db8:7::7")


@pytest.fixture(autouse=True)
def in_the_director(row: Row) -> None:
    del row


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_an_address_of_this_host_is_waited_for(vip: bytes) -> None:
    assert not wait_until_local(vip, 0)
    with linked(NETLINK_ROUTE) as link:
        addresses.add_by(link, links.index_of("eth0"), vip)
    assert wait_until_local(vip)
    addresses.delete("eth0", vip)
    assert not wait_until_local(vip, 0)


def test_an_address_that_is_routed_elsewhere_is_not_local() -> None:
    assert not wait_until_local(pack("192.0.2.2"), 0)
    assert not wait_until_local(pack("2001:db8:1::2"), 0)


def test_packets_to_an_address_are_taken_as_soon_as_it_is_added(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "journal.json")
    vips = [pack(f"2001:db8:7::{number:x}") for number in range(1, 101)]
    taken = []
    for vip in vips:
        machine.add_address("eth0", vip)
        taken.append(wait_until_local(vip, 0))
    machine.restore()
    assert taken == [True] * len(vips)
