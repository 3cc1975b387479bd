"""The kernel takes packets to a new address when we say that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.io.machine import Machine
from lvsd.net import addresses, links
from lvsd.net.kernel import talking
from lvsd.net.local_routes import wait_until_local
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.net.kernel import Kernel
    from tests.netns.io.hosts import Row

VIP4, VIP6 = pack("198.51.100.7"), pack("2001:db8:7::7")


@pytest.fixture
def kernel(row: Row) -> Iterator[Kernel]:
    """Talk about the director."""
    del row
    with talking() as kernel:
        yield kernel


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_an_address_of_this_host_is_waited_for(kernel: Kernel, vip: bytes) -> None:
    eth0 = links.find(kernel, "eth0")
    assert eth0 is not None
    assert wait_until_local(kernel, [vip], 0) == [vip]
    kernel.do(addresses.adding(eth0.index, vip))
    assert wait_until_local(kernel, [vip]) == []
    kernel.do(addresses.deleting(eth0.index, vip))
    assert wait_until_local(kernel, [vip], 0) == [vip]


def test_an_address_that_is_routed_elsewhere_is_not_local(kernel: Kernel) -> None:
    elsewhere = [pack("192.0.2.2"), pack("2001:db8:1::2")]
    assert wait_until_local(kernel, [*elsewhere, pack("192.0.2.1")], 0) == elsewhere


def test_packets_to_an_address_are_taken_as_soon_as_it_is_added(
    kernel: Kernel, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "journal.json")
    vips = [pack(f"2001:db8:7::{number:x}") for number in range(1, 101)]
    taken = []
    for vip in vips:
        machine.add_address("eth0", vip)
        taken.append(wait_until_local(kernel, [vip], 0) == [])
    machine.restore()
    assert taken == [True] * len(vips)
