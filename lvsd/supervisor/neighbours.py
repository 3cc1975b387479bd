"""The MACs of real servers of direct routing: the kernel's table, followed.

The kernel does the resolving and the probing; a copy of its whole table is kept here by its
notifications. What does not go through the kernel's own output, frames above all, leaves no trace
of use in the table: `Neighbours.ask` says that a neighbour is in use.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from lvsd.errors import KernelError
from lvsd.net import neighbours
from lvsd.net.kernel import talking
from lvsd.net.watch import NeighbourWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lvsd.io.leads import Lead
    from lvsd.net.neighbours import Neighbour

Place: TypeAlias = tuple[int, bytes]
"""Interface index and packed address: neighbours are an interface's."""

PAUSE_S: Final = 1.0
"""How long to wait before the kernel is asked again that told nothing."""

_MAC_LENGTH: Final = 6

log = structlog.get_logger("lvsd")


class Neighbours:
    """Completes leads by MACs; ``tell`` is called with those that are new or changed.

    It gets None for an address that nothing leads to any more.
    """

    def __init__(self, tell: Callable[[dict[bytes, Lead | None]], None]) -> None:
        self._tell = tell
        self._watch = NeighbourWatch(self._note, self._lost)
        self._table: dict[Place, Neighbour] = {}
        """Those whose MAC the kernel knows."""
        self._is_stale = True
        self._news: dict[Place, Neighbour] | None = None
        """What was told since a reading of the table began, which may have come before that."""
        self._reading: asyncio.Task[None] | None = None
        self.leads: dict[bytes, Lead] = {}
        """By packed address. Another engine is to be told all of them."""

    async def start(self) -> None:
        """Follow the kernel's table from now on. Raise KernelError."""
        self._watch.start(asyncio.get_running_loop())
        self._reading = asyncio.create_task(self._read())
        await self._reading

    def close(self) -> None:
        """Follow it no longer. Harmless when done twice."""
        self._watch.close()
        if self._reading is not None:
            self._reading.cancel()

    def keep(self, leads: Mapping[bytes, Lead]) -> None:
        """Take over what leads to neighbours now (`lvsd.supervisor.host`), and to nobody else.

        Nobody is asked on the wire.
        """
        changes: dict[bytes, Lead | None] = dict.fromkeys(self.leads.keys() - leads.keys())
        complete = {address: self._complete(address, lead) for address, lead in leads.items()}
        changes |= {each: lead for each, lead in complete.items() if self.leads.get(each) != lead}
        self.leads = complete
        if changes:
            self._tell(changes)

    def keep_also(self, leads: Mapping[bytes, Lead]) -> None:
        """Take over what leads to some more neighbours."""
        self.keep({**self.leads, **leads})

    def ask(self, addresses: Iterable[bytes]) -> None:
        """Let the kernel look for neighbours, or make sure that they are where they were.

        Returns before anybody has answered. Never raises: who cannot be asked stays unknown.
        """
        self._watch.catch_up()  # an entry may have become a permanent one
        leads = ((each, self.leads.get(each)) for each in addresses)
        places = [(lead.interface, each) for each, lead in leads if lead and not lead.problem]
        self._watch.send(
            neighbours.using(*place)
            for place in places
            if place not in self._table or not self._table[place].is_fixed
        )

    def _complete(self, address: bytes, lead: Lead) -> Lead:
        known = self._table.get((lead.interface, address))
        mac = known.mac if known is not None else None
        return lead._replace(mac=mac if mac is not None and len(mac) == _MAC_LENGTH else None)

    def _note(self, neighbour: Neighbour) -> None:
        """Write down what was told of a neighbour; hand it on if the MAC is another one."""
        place = neighbour.interface, neighbour.address
        if neighbour.mac is None:
            self._table.pop(place, None)
        else:
            self._table[place] = neighbour
        if self._news is not None:
            self._news[place] = neighbour
        lead = self.leads.get(neighbour.address)
        if lead is not None and lead.interface == neighbour.interface:
            changed = self._complete(neighbour.address, lead)
            if changed != lead:
                self.leads[neighbour.address] = changed
                self._tell({neighbour.address: changed})

    def _lost(self) -> None:
        """Read the table anew: part of what was told was lost."""
        self._is_stale = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_in_the_end())

    async def _read(self) -> None:
        """Take over the kernel's whole table. Raise KernelError."""
        while self._is_stale:
            self._is_stale = False
            self._news = {}
            try:
                found = await asyncio.to_thread(_read_table)
            except KernelError:
                self._is_stale = True
                raise
            found |= self._news
            self._table = {place: each for place, each in found.items() if each.mac is not None}
        self._news = None
        self.keep(self.leads)

    async def _read_in_the_end(self) -> None:
        while True:
            try:
                await self._read()
            except KernelError as error:
                log.warning("cannot read the MACs of neighbours", error=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                return


def _read_table() -> dict[Place, Neighbour]:
    with talking() as kernel:
        return {(each.interface, each.address): each for each in neighbours.every(kernel)}
