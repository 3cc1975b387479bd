"""Takes in the connections that a director before this one wrote down: sorts them, counts them.

Then each, once it is wanted, or in its turn (`lvsd.core.pending`). Where the table has no room for
all of them, they are taken in one by one and at once, as others give way for each.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lvsd.core import persistence, snapshot
from lvsd.core.connection import Connection
from lvsd.core.gathering import GONE, HALF, NO_ROOM, OTHERWISE, Gathering
from lvsd.core.kept_keys import read_keys
from lvsd.core.known import Known
from lvsd.core.pending import Pending
from lvsd.packet.view import split_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvsd.core.flows import Flows
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.keeper import Slots
    from lvsd.core.pending import Batch
    from lvsd.core.service import RealServer
    from lvsd.core.snapshot import KeptConnection
    from lvsd.core.template import Template


class Intake:
    """Takes in the connections of ``slots``.

    ``servers`` are those that records name, by the slots of their own. ``connections`` counts what
    goes on, as far as that is known, ``dropped`` what does not, by its reason.
    """

    def __init__(self, flows: Flows, servers: Mapping[int, RealServer], slots: Slots) -> None:
        self._flows = flows
        self._servers = servers
        self._slots = slots
        self._buffer = slots.buffer
        self._batches: dict[tuple[bytes, int], Batch] = {}
        self._begun_at = 0.0
        self.connections = 0
        self.dropped: Counter[str] = Counter()

    def steps(self, records: list[int], now: float) -> Iterator[None]:
        """Have all connections whose slots these are pending, or in the table."""
        gathering = Gathering(self._flows, self._servers, self._buffer, self._drop, now)
        yield from gathering.sorting(records)
        self._batches, self._begun_at = gathering.batches, now
        if gathering.has_room():
            gathering.count()
            yield from self._postpone(gathering)
        else:
            for at in records:
                if snapshot.kind_at(self._buffer, at):
                    self._take_uncounted(at)
                    yield

    def _postpone(self, gathering: Gathering) -> Iterator[None]:
        """Have them pending, but for those whose order matters, which are taken in."""
        batches, by_key = gathering.batches.values(), gathering.by_key
        pending = Pending(self._buffer, by_key, batches, self._take_counted, self._over)
        self.connections += len(pending)
        if len(pending):
            self._flows.table.pending = pending
        for at in sorted(gathering.clashing):
            pending.take(at)
            yield

    def _over(self) -> None:
        self._flows.table.pending = None

    def _drop(self, at: int, why: str) -> None:
        """Drop a connection that cannot go on, and free its slot."""
        self.dropped[why] += 1
        snapshot.clear(self._buffer, at)
        self._slots.give_back(at)

    # --- one by one -----------------------------------------------------------------------------

    def _take_uncounted(self, at: int) -> None:
        """Take in the connection at a slot, if there is room, and count it; or drop it."""
        found = self._taken(at, self._batch(at), None, is_counted=False)
        if isinstance(found, str):
            self._drop(at, found)
        else:
            self.connections += 1

    def _take_counted(self, at: int) -> Connection | None:
        """Take in the connection at a slot; return None where that cannot be, and count it no more.

        Its local port is claimed, too.
        """
        self._slots.taking_in(at)
        try:
            return self._take_pending(at)
        finally:
            self._slots.taking_in(0)

    def _take_pending(self, at: int) -> Connection | None:
        batch = self._batch(at)
        server, local = batch.server, None
        if batch.is_translated and server is not None:
            local = self._local_of(at, server)
        found = self._taken(at, batch, local, is_counted=True)
        if not isinstance(found, str):
            return found
        self.connections -= 1
        if server is not None:
            self._uncount(server, batch)
        self._drop(at, found)
        return None

    def _batch(self, at: int) -> Batch:
        keys = read_keys(self._buffer, at)
        return self._batches[keys.common, keys.key[0]]

    def _local_of(self, at: int, server: RealServer) -> FreePorts:
        """Return whose port is claimed for the connection at a slot."""
        pool = server.service.config.local
        return self._flows.local_ports.list_of(pool, self._reply_key(at, server))

    def _reply_key(self, at: int, server: RealServer) -> bytes:
        is_v6 = len(server.address) != 4
        return read_keys(self._buffer, at).reply_key[: snapshot.KEY_BYTES[is_v6]]

    def _uncount(self, server: RealServer, batch: Batch) -> None:
        """Count a connection that was counted no longer."""
        if batch.is_active:
            server.deactivate()
        server.close()
        self._flows.table.uncount(server.service.share)
        server.service.released(server)
        server.service.changed(server)

    def _taken(
        self, at: int, batch: Batch, local: FreePorts | None, *, is_counted: bool
    ) -> Connection | str:
        """Return the connection at a slot, which is taken in, or why it cannot go on."""
        server, flows = batch.server, self._flows
        kept = snapshot.read_connection(self._buffer, at)
        if server is None:
            return batch.objection
        why = HALF if kept is None else self._objection(kept, server)
        if why or kept is None:
            self._unclaim(at, server, local)
            return why
        known = Known(
            kept.key,
            kept.reply_key,
            server,
            kept.state,
            None,
            kept.memory or (),
            self._template_of(kept, server) if kept.has_template else None,
            at,
            is_counted,
            local,
        )
        try:
            connection = flows.adopt(known, self._begun_at)
        except Exception:  # noqa: BLE001 - a forwarder's, or the record's: it costs this connection
            return HALF
        return connection if isinstance(connection, Connection) else NO_ROOM

    def _unclaim(self, at: int, server: RealServer, local: FreePorts | None) -> None:
        """Give back a local port that is claimed for a connection, unless another one has it."""
        if local is not None:
            reply_key = self._reply_key(at, server)
            if reply_key not in self._flows.table.by_key:
                self._flows.local_ports.give_back(local, split_key(reply_key)[1][1])

    def _objection(self, kept: KeptConnection, server: RealServer) -> str:
        """Return why a connection that a record tells of cannot be this server's, "" if it can."""
        service, forwarder = server.service, server.config.forwarder
        by_key, number = self._flows.table.by_key, kept.key[0]
        client, virtual = split_key(kept.key)
        real, local = split_key(kept.reply_key)
        of_all = service.key.fwmark
        if not of_all and (number, virtual[0]) != (service.key.protocol, service.key.vip):
            return GONE
        if kept.key in by_key:
            return HALF
        if forwarder.per_connection:
            if local[0] not in service.config.local.addresses:
                return OTHERWISE
            if real[0] != server.address or kept.reply_key in by_key:
                return HALF
        elif not forwarder.bypasses and (real[0] != server.address or local != client):
            return HALF
        return ""

    def _template_of(self, kept: KeptConnection, server: RealServer) -> Template | None:
        """Return the template that promised a connection its server, if that goes on, too."""
        client, virtual = split_key(kept.key)
        key = persistence.template_key(server.service, Flow(*client, *virtual), kept.key[0])
        template = self._flows.table.templates.get(key)
        return template if template is not None and template.server is server else None
