"""What the engine is told of the host: links, addresses and ways, all of it once, then the news."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.core.values import ANY_MTU, Way
from lvsd.net import network
from lvsd.packet.address import pack
from lvsd.supervisor import host
from lvsd.supervisor.host import NOTHING, Host, difference, look

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel
    from lvsd.net.network import Network
    from tests.netns.io.hosts import Row

SERVER4, SERVER6 = pack("10.0.0.2"), pack("2001:db8:2::2")
NEAR4, NEAR6 = pack("10.0.0.1"), pack("2001:db8:2::1")
NOWHERE = pack("203.0.113.9")


@pytest.mark.parametrize("questions", [0, 1000], ids=["by questions", "by a snapshot"])
def test_a_look_tells_links_addresses_and_ways(
    row: Row, monkeypatch: pytest.MonkeyPatch, questions: int
) -> None:
    monkeypatch.setattr(host, "ROUTES_FOR_A_QUESTION", questions)
    row.director.ip("link set eth1 mtu 1450")
    found, leads = look([SERVER4, SERVER6, NEAR4, NEAR6, NOWHERE], [])
    eth0, eth1 = (socket.if_nametoindex(name) for name in ("eth0", "eth1"))
    assert (found.link_mtus[eth0], found.link_mtus[eth1]) == (1500, 1450)
    assert found.addresses >= {pack("192.0.2.1"), pack("2001:db8:1::1"), NEAR4, NEAR6}
    assert found.ways == {
        SERVER4: Way(1450, NEAR4),
        SERVER6: Way(1450, NEAR6),
        NEAR4: Way(1450, NEAR4, is_local=True),
        NEAR6: Way(1450, NEAR6, is_local=True),
        NOWHERE: Way(ANY_MTU, None),
    }
    assert leads == {}


def test_few_ways_are_asked_for_and_many_are_looked_up_in_a_snapshot(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    del row
    reads: list[object] = []
    read = network.read

    def counted(kernel: Kernel, *, forwards_ipv6: bool) -> Network:
        reads.append(kernel)
        return read(kernel, forwards_ipv6=forwards_ipv6)

    monkeypatch.setattr(network, "read", counted)
    few, _ = look([SERVER4], [])
    assert len(reads) == 0
    many, _ = look([pack(f"10.0.{number}.2") for number in range(256)], [])
    assert len(reads) == 1
    assert many.ways[SERVER4] == few.ways[SERVER4]


def test_a_difference_has_the_new_and_changed_ways_only() -> None:
    old = Host({1: 1500}, frozenset({NEAR4}), {SERVER4: Way(1500, NEAR4), SERVER6: Way(1500)})
    assert difference(NOTHING, old) == old
    assert difference(old, old) is None
    changed = Way(1400, NEAR4)
    new = old._replace(ways={SERVER4: changed, SERVER6: Way(1500), NEAR6: Way(9)})
    assert difference(old, new) == old._replace(ways={SERVER4: changed, NEAR6: Way(9)})
    fewer = old._replace(ways={SERVER4: Way(1500, NEAR4)})
    assert difference(old, fewer) is None, "what is not asked about any more is no news"
    moved = old._replace(addresses=frozenset({NEAR6}))
    assert difference(old, moved) == moved._replace(ways={})


def test_a_look_works_in_a_thread_of_a_running_loop(row: Row) -> None:
    del row

    async def main() -> Host:
        found, _ = await asyncio.to_thread(look, [SERVER4], [])
        return found

    assert asyncio.run(main()).ways == {SERVER4: Way(1500, NEAR4)}
