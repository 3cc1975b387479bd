"""Sorts the records of connections, at a microsecond or two each, so that packets can come.

What is found out of a record here is enough to count it, and to find it by its keys; whether all of
it can be true shows when it is taken in (`lvsd.core.intake`).
"""

from __future__ import annotations

from collections import Counter
from struct import unpack
from typing import TYPE_CHECKING, Final

from lvsd.core.kept_keys import Common, read_keys_quickly
from lvsd.core.path import has_way
from lvsd.core.pending import Batch
from lvsd.core.snapshot import KEY_BYTES
from lvsd.packet.view import TCP, split_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lvsd.core.flows import Flows
    from lvsd.core.local_pool import LocalPool
    from lvsd.core.service import RealServer
    from lvsd.core.shares import Share
    from lvsd.core.snapshot import Buffer

GONE: Final = "their service or real server is gone"
OTHERWISE: Final = "they are forwarded otherwise now"
NO_ROOM: Final = "there is no room or no way for them"
HALF: Final = "they were half open or half written"

TOGETHER: Final = 512
"""Records that are sorted in one step."""


class Gathering:
    """Sorts records into batches.

    ``servers`` are those that records name, by the slots of their own. ``drop`` is called with the
    slot of a record that cannot go on, and why. ``clashing`` are the slots of those that have a key
    in common with another one: the order in which they are taken in makes a difference.
    """

    def __init__(
        self,
        flows: Flows,
        servers: Mapping[int, RealServer],
        buffer: Buffer,
        drop: Callable[[int, str], None],
        now: float,
    ) -> None:
        self._flows = flows
        self._servers = servers
        self._buffer = buffer
        self._drop = drop
        self._now = now
        self.by_key: dict[bytes, int] = {}
        self.batches: dict[tuple[bytes, int], Batch] = {}
        self.clashing: set[int] = set()
        self._ports: dict[LocalPool, dict[bytes, list[bytes]]] = {}
        self._opening: list[tuple[LocalPool, bytes]] = []

    def sorting(self, slots: Iterable[int]) -> Iterator[None]:
        """Sort the records at these slots, step by step."""
        buffer, batches, add_key = self._buffer, self.batches, self.by_key.setdefault
        for number, at in enumerate(slots):
            if not number % TOGETHER:
                yield
            common, key, reply_key, learned = read_keys_quickly(buffer, at)
            kind = common, key[0]
            batch = batches.get(kind)
            if batch is None:
                batch = batches[kind] = self._batch(Common.of(common), key[0])
            add_slot = batch.add_slot
            if add_slot is None:
                self._drop(at, batch.objection)
                continue
            if batch.is_translated:
                port_at = batch.port_at
                ports = batch.ports.get(reply_key[:port_at])
                if ports is None or not learned or batch.is_opening:
                    found = self._ports_of(batch, key[0], reply_key, learned)
                    if isinstance(found, str):
                        self._drop(at, found)
                        continue
                    ports = found
                ports.append(reply_key[port_at : port_at + 2])
            add_slot(at)
            if add_key(key, at) != at or add_key(reply_key, at) != at:
                self.clashing |= {at, self.by_key[key], add_key(reply_key, at)}

    def _batch(self, common: Common, number: int) -> Batch:
        """Return a batch for connections of this kind, and a protocol by its number."""
        server, timeouts = self._servers.get(common.server), self._flows.timeouts
        if number not in timeouts.protocols:
            return Batch(HALF)
        if server is None:
            return Batch(GONE)
        service, forwarder = server.service, server.config.forwarder
        if not service.key.fwmark and number != service.key.protocol:
            return Batch(GONE)
        if (common.is_translated, common.bypasses) != (
            forwarder.per_connection,
            forwarder.bypasses,
        ):
            return Batch(OTHERWISE)
        timing = service.config.timing
        protocol = timeouts.protocol(number, forwarder, timing)
        if common.state >= len(protocol.states):
            return Batch(HALF)
        if not has_way(server):
            return Batch(NO_ROOM)
        batch = Batch("", server)
        if common.is_translated:
            batch.is_translated = True
            batch.port_at = KEY_BYTES[common.is_v6] - 2
            batch.pool = service.config.local
            batch.ports = self._ports.setdefault(batch.pool, {})
        batch.is_active = bool(protocol.active[common.state])
        batch.is_opening = bool(protocol.opening[common.state])
        batch.expires = self._now + timing.seconds(protocol)[common.state]
        return batch

    def _ports_of(
        self, batch: Batch, number: int, reply_key: bytes, learned: int
    ) -> list[bytes] | str:
        """Return the list that a connection's local port goes to, or why it cannot go on."""
        if number == TCP and not learned:
            return HALF
        towards = reply_key[: batch.port_at]
        ports = batch.ports.get(towards)
        if ports is None:
            _, (address, _) = split_key(reply_key[: batch.port_at + 2])
            if address not in batch.pool.addresses:
                return OTHERWISE
            ports = batch.ports[towards] = []
        if batch.is_opening:
            self._opening.append((batch.pool, reply_key[: batch.port_at + 2]))
        return ports

    # --- and counts them --------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether the table, and each service's part of it, has room for all of them."""
        wanted: Counter[Share] = Counter()
        bounds: dict[Share, int] = {}
        for batch in self.batches.values():
            if batch.server is not None and batch.slots:
                service = batch.server.service
                wanted[service.share] += len(batch.slots)
                bounds[service.share] = service.config.max_connections
        return self._flows.admission.has_room(wanted, bounds)

    def count(self) -> None:
        """Count all of them as their server's and in the table, and claim their local ports."""
        totals: Counter[RealServer] = Counter()
        active: Counter[RealServer] = Counter()
        for batch in self.batches.values():
            if batch.server is not None:
                totals[batch.server] += len(batch.slots)
                active[batch.server] += len(batch.slots) * batch.is_active
        for server, total in totals.items():
            if total:
                server.take_over(total, active[server])
                self._flows.table.count_many(server.service.share, total)
                server.service.changed(server)
        local_ports, numbers = self._flows.local_ports, self._flows.numbers
        for pool, all_ports in self._ports.items():
            for towards, ports in all_ports.items():
                key = towards + ports[0]
                free = local_ports.list_of(pool, key)
                free.claim_fresh(unpack(f"!{len(ports)}H", b"".join(ports)))
                numbers.first(key, self._now)
        for pool, key in self._opening:
            local_ports.list_of(pool, key).note_opening(key)
