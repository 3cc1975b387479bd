"""The copy of the kernel's neighbour table: what it takes over, and that it stays true."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from lvsd.io.neighbours import Neighbours
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.io.neighbours import Place
    from tests.netns.io.hosts import Row

BOTH = [pytest.param("10.0.0.50", id="ipv4"), pytest.param("2001:db8:2::50", id="ipv6")]
MAC, OTHER_MAC = "02:00:00:00:00:50", "02:00:00:00:00:51"


class Table:
    """Neighbours in the director, and whose changes were told."""

    def __init__(self) -> None:
        self.changes: list[Place] = []
        self.loop = uvloop.new_event_loop()
        self.neighbours = Neighbours(self.changes.append)
        self.neighbours.open(self.loop)

    def mac(self, place: Place) -> str | None:
        """Return a MAC as ``ip`` writes it."""
        found = self.neighbours.mac(place)
        return found and found.hex(":")  # type: ignore[return-value] # never empty


@pytest.fixture
def table(row: Row) -> Iterator[Table]:
    """Follow the director's neighbours."""
    table = Table()
    yield table
    table.neighbours.close()
    table.loop.close()
    row.director.ip("neigh flush all nud all")


def at(address: str) -> Place:
    return socket.if_nametoindex("eth1"), pack(address)


@pytest.mark.parametrize("address", BOTH)
def test_what_the_kernel_knows_is_known_when_somebody_watches(
    row: Row, table: Table, address: str
) -> None:
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud reachable")
    place = at(address)
    assert table.mac(place) is None
    table.neighbours.watch([place])
    assert (table.mac(place), table.changes) == (MAC, [])


@pytest.mark.parametrize("address", BOTH)
def test_changes_of_a_watched_neighbour_are_told_and_others_are_not(
    row: Row, table: Table, address: str
) -> None:
    place = at(address)
    table.neighbours.watch([place])
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth0 nud reachable")
    row.director.ip(f"neigh replace {address[:-1]}9 lladdr {MAC} dev eth1 nud reachable")
    table.neighbours._readable()
    assert (table.changes, table.mac(place)) == ([], None)
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud reachable")
    table.neighbours._readable()
    assert (table.changes, table.mac(place)) == ([place], MAC)
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud stale")
    table.neighbours._readable()
    assert table.changes == [place], "the same MAC is no change"
    row.director.ip(f"neigh replace {address} lladdr {OTHER_MAC} dev eth1 nud stale")
    table.neighbours._readable()
    assert (table.changes, table.mac(place)) == ([place, place], OTHER_MAC)
    row.director.ip(f"neigh del {address} dev eth1")
    table.neighbours._readable()
    assert (table.changes, table.mac(place)) == ([place] * 3, None)


def test_a_forgotten_neighbour_is_followed_no_longer(row: Row, table: Table) -> None:
    place = at("10.0.0.50")
    table.neighbours.watch([place])
    table.neighbours.forget(place)
    row.director.ip(f"neigh replace 10.0.0.50 lladdr {MAC} dev eth1 nud reachable")
    table.neighbours._readable()
    assert (table.changes, table.mac(place)) == ([], None)


def test_after_lost_messages_the_table_is_true_again(row: Row, table: Table) -> None:
    here, gone = at("10.0.0.50"), at("10.0.0.51")
    row.director.ip(f"neigh replace 10.0.0.51 lladdr {MAC} dev eth1 nud reachable")
    table.neighbours.watch([here, gone])
    assert table.neighbours._socket is not None
    table.neighbours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(20):
        row.director.ip(f"neigh replace 10.0.0.60 lladdr {MAC} dev eth1 nud reachable")
        row.director.ip("neigh del 10.0.0.60 dev eth1")
    row.director.ip(f"neigh replace 10.0.0.50 lladdr {MAC} dev eth1 nud reachable")
    row.director.ip("neigh del 10.0.0.51 dev eth1")
    table.neighbours._readable()
    assert (table.mac(here), table.mac(gone)) == (MAC, None)
    assert set(table.changes) == {here, gone}


def test_asking_for_whom_nobody_can_ask_raises_nothing(row: Row, table: Table) -> None:
    del row
    nobody = [(99999, pack("10.0.0.50")), (1, pack("127.0.0.9")), at("224.0.0.1")]
    table.neighbours.watch(nobody)
    table.neighbours.ask(nobody)
    table.neighbours._readable()
    assert [table.mac(place) for place in nobody[:1]] == [None]


def test_a_closed_table_knows_and_asks_nobody(row: Row, table: Table) -> None:
    del row
    place = at("10.0.0.50")
    table.neighbours.watch([place])
    table.neighbours.close()
    table.neighbours.ask([place])
    table.neighbours.close()
    assert table.mac(place) is None
