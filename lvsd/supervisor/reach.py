"""What of this host's network belongs to real servers, as they come and go.

The ways to them, and the neighbours of direct routing, are looked up when the network changes and
before the engine is told of a new server. A server that was removed is followed on while
connections to it live. And the kernel forwards packets of the families that NAT has.
"""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING

from forwarders import Dr, Nat
from lvsd.core.commands import ServerChange, ServiceChange
from lvsd.supervisor.host import look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.core.commands import Change
    from lvsd.core.values import ServerConfig
    from lvsd.core.wanted import Wanted
    from lvsd.io.machine import Machine
    from lvsd.supervisor.conversation import Conversation
    from lvsd.supervisor.neighbours import Neighbours


class Reach:
    """Follows the real servers that are ``wanted``, and tells the engine of them.

    ``families`` are the IP versions that are to be forwarded, as far as the configuration says so;
    ``switches``: lvsd may switch forwarding on.
    """

    def __init__(
        self,
        wanted: Wanted,
        engine: Conversation,
        neighbours: Neighbours,
        families: Iterable[int],
        *,
        switches: bool,
    ) -> None:
        self._wanted = wanted
        self._engine = engine
        self._neighbours = neighbours
        self.families = set(families)
        self.switched: set[int] = set()
        """The families that lvsd switched forwarding on for, or found it so."""
        self._switches = switches
        self._machine: Machine | None = None
        self._gone: dict[bytes, frozenset[str]] = {}
        """Real servers that were removed and may have connections: address -> modes."""

    def start(self, machine: Machine) -> None:
        """Have forwarding switched on, journaled. Blocks. Raise KernelError."""
        self._machine = machine
        self._forward(self.families)

    async def want(self, families: Iterable[int], *, switches: bool) -> None:
        """Have forwarding switched on for these families, too, as far as lvsd may by now.

        What was switched on stays so: its end puts it back. Raise KernelError.
        """
        self._switches |= switches
        await to_thread(self._forward, (self.families | set(families)) - self.switched)

    async def learn(self) -> None:
        """Look at the network, and tell the engine what is new. Raise KernelError."""
        gone = [address for address, modes in self._gone.items() if Dr.name in modes]
        direct = {**dict.fromkeys(self._wanted.reached(Dr.name)), **dict.fromkeys(gone)}
        servers = {**self._wanted.addresses(), **dict.fromkeys(self._gone)}
        host, leads = await to_thread(look, servers, direct)
        self._engine.learned(host)
        self._neighbours.keep(leads)

    async def prepare(self, changes: Sequence[Change]) -> None:
        """Look up for the engine what it has to know before some changes. Raise KernelError."""
        servers = [each for each in changes if isinstance(each, ServerChange)]
        coming = [each.after for each in servers if each.after]
        known, leads = self._engine.known(), self._neighbours.leads
        new = {each.address for each in coming if each.address not in known}
        to_dr = {each.address for each in coming if each.forwarder.name == Dr.name}
        direct = {each for each in to_dr if each not in leads}
        if new or direct:
            host, found = await to_thread(look, new | direct, direct)
            self._engine.learned_also(host.ways)
            self._neighbours.keep_also(found)
        for before in self._leaving(changes):
            modes = self._gone.get(before.address, frozenset())
            self._gone[before.address] = modes | {before.forwarder.name}
        masqueraded = {len(each.address) for each in coming if each.forwarder.name == Nat.name}
        families = {4 if length == 4 else 6 for length in masqueraded} - self.families
        if families:
            await to_thread(self._forward, families)

    def _leaving(self, changes: Sequence[Change]) -> Iterator[ServerConfig]:
        """Yield the real servers as they were that are about to go, or to be others."""
        for each in changes:
            if isinstance(each, ServerChange) and each.before:
                yield each.before
            elif isinstance(each, ServiceChange) and not each.after:
                service = self._wanted.services.get(each.service)  # none: it came in the same list
                yield from service.servers.values() if service else ()

    def left(self, addresses: frozenset[bytes]) -> None:
        """Forget removed real servers but these, packed: the others have no connections.

        One that is wanted is about to go, or has connections that are forwarded as it once was.
        """
        self._gone = {
            each: modes
            for each, modes in self._gone.items()
            if each in addresses or self._wanted.has(each)
        }

    def _forward(self, families: Iterable[int]) -> None:
        self.families |= set(families)
        if self._switches and self._machine is not None:
            for family in sorted(families):
                self._machine.forward(family)
                self.switched.add(family)
