"""The copy of the kernel's neighbour table: which leads it completes, and that it stays true."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io.leads import Lead
from lvsd.packet.address import pack
from lvsd.supervisor import neighbours
from lvsd.supervisor.neighbours import Neighbours
from tests.netns.io.hosts import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.netns.io.hosts import Row

BOTH = [pytest.param("10.0.0.50", id="ipv4"), pytest.param("2001:db8:2::50", id="ipv6")]
MAC, OTHER_MAC = "02:00:00:00:00:50", "02:00:00:00:00:51"


class Table:
    """Neighbours in the director, and the changes that were told."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, str | None]] = []
        self.loop = asyncio.new_event_loop()
        self.neighbours = Neighbours(self._tell)

    def _tell(self, leads: dict[bytes, Lead | None]) -> None:
        self.told += [(each, text(lead and lead.mac)) for each, lead in leads.items()]

    def start(self) -> None:
        """Follow the kernel's table."""
        self.loop.run_until_complete(self.neighbours.start())

    def keep(self, *addresses: str) -> None:
        """Keep leads to these addresses out of eth1."""
        lead = Lead(socket.if_nametoindex("eth1"), "eth1", bytes(6), 1500)
        self.neighbours.keep({pack(each): lead for each in addresses})

    def take(self) -> list[tuple[bytes, str | None]]:
        """Return what has been told since the last time, with what the kernel says now."""
        self.neighbours._watch.catch_up()
        told = self.told.copy()
        self.told.clear()
        return told

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until something is so."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - the kernel sets no event
                    await asyncio.sleep(0.01)

        self.loop.run_until_complete(wait())

    def mac(self, address: str) -> str | None:
        """Return a MAC as ``ip`` writes it."""
        return text(self.neighbours.leads[pack(address)].mac)


def text(mac: bytes | None) -> str | None:
    return None if mac is None else mac.hex(":")


@pytest.fixture
def table(row: Row) -> Iterator[Table]:
    """Follow the director's neighbours, once started."""
    row.director.ip("neigh flush all nud all")
    table = Table()
    yield table
    table.neighbours.close()
    table.loop.close()
    row.director.ip("neigh flush all nud all")


@pytest.mark.parametrize("address", BOTH)
def test_what_the_kernel_knows_is_told_with_the_lead(row: Row, table: Table, address: str) -> None:
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud reachable")
    table.start()
    assert table.take() == []
    table.keep(address)
    assert table.take() == [(pack(address), MAC)]
    table.keep(address)
    assert table.take() == [], "nothing is new"
    table.keep()
    assert table.take() == [(pack(address), None)]
    assert table.neighbours.leads == {}


@pytest.mark.parametrize("address", BOTH)
def test_changes_of_a_kept_neighbour_are_told_and_others_are_not(
    row: Row, table: Table, address: str
) -> None:
    packed = pack(address)
    table.start()
    table.keep(address)
    assert table.take() == [(packed, None)]
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth0 nud reachable")
    row.director.ip(f"neigh replace {address[:-1]}9 lladdr {MAC} dev eth1 nud reachable")
    assert table.take() == []
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud reachable")
    assert table.take() == [(packed, MAC)]
    row.director.ip(f"neigh replace {address} lladdr {MAC} dev eth1 nud stale")
    assert table.take() == [], "the same MAC is no change"
    row.director.ip(f"neigh replace {address} lladdr {OTHER_MAC} dev eth1 nud stale")
    assert table.take() == [(packed, OTHER_MAC)]
    row.director.ip(f"neigh del {address} dev eth1")
    assert table.take() == [(packed, None)]


def test_after_lost_messages_the_table_is_true_again(row: Row, table: Table) -> None:
    row.director.ip(f"neigh replace 10.0.0.51 lladdr {MAC} dev eth1 nud reachable")
    table.start()
    table.keep("10.0.0.50", "10.0.0.51")
    table.take()
    _lose(row, table)
    table.until(lambda: (table.mac("10.0.0.50"), table.mac("10.0.0.51")) == (MAC, None))
    assert set(table.take()) == {(pack("10.0.0.50"), MAC), (pack("10.0.0.51"), None)}


def test_a_table_that_cannot_be_read_after_a_loss_is_read_later(
    row: Row, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "PAUSE_S", 0.01)
    table.start()
    table.keep("10.0.0.50")
    read, failures = neighbours._read_table, iter(range(2))

    def refuse() -> object:
        if next(failures, None) is None:
            return read()
        raise KernelError("list the neighbours", "out of files", "raise the limit")

    monkeypatch.setattr(neighbours, "_read_table", refuse)
    _lose(row, table)
    table.until(lambda: table.mac("10.0.0.50") == MAC)


def _lose(row: Row, table: Table) -> None:
    """Have the watch lose what is told of 10.0.0.50, which comes, and 10.0.0.51, which goes."""
    told = table.neighbours._watch._told
    assert told is not None
    told.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(20):
        row.director.ip(f"neigh replace 10.0.0.60 lladdr {MAC} dev eth1 nud reachable")
        row.director.ip("neigh del 10.0.0.60 dev eth1")
    row.director.ip(f"neigh replace 10.0.0.50 lladdr {MAC} dev eth1 nud reachable")
    row.director.ip("neigh flush to 10.0.0.51 dev eth1 nud all")


def test_what_is_told_while_the_table_is_read_counts_more(
    row: Row, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = neighbours._read_table
    row.director.ip(f"neigh replace 10.0.0.51 lladdr {MAC} dev eth1 nud reachable")

    def slowly() -> object:
        found = read()
        row.director.ip(f"neigh replace 10.0.0.50 lladdr {MAC} dev eth1 nud reachable")
        row.director.ip("neigh del 10.0.0.51 dev eth1")
        table.loop.call_soon_threadsafe(table.neighbours._watch.catch_up)
        return found

    monkeypatch.setattr(neighbours, "_read_table", slowly)
    table.start()
    table.keep("10.0.0.50", "10.0.0.51")
    assert table.take() == [(pack("10.0.0.50"), MAC), (pack("10.0.0.51"), None)]


def test_asking_for_whom_nobody_can_ask_raises_nothing(row: Row, table: Table) -> None:
    del row
    table.start()
    nobody = {
        pack("10.0.0.50"): Lead(99999, "gone", bytes(6), 1500),
        pack("127.0.0.9"): Lead(1, "lo", bytes(6), 1500),
        pack("224.0.0.1"): Lead(socket.if_nametoindex("eth1"), "eth1", bytes(6), 1500),
        pack("10.0.0.51"): Lead(problem="no route"),
    }
    table.neighbours.keep(nobody)
    table.neighbours.ask([*nobody, pack("10.0.0.52")])
    table.take()
    assert table.mac("10.0.0.50") is None


def test_a_closed_table_asks_nobody(row: Row, table: Table) -> None:
    del row
    table.start()
    table.keep("10.0.0.50")
    table.neighbours.close()
    table.neighbours.ask([pack("10.0.0.50")])
    table.neighbours.close()
    assert table.mac("10.0.0.50") is None
