"""FULLNAT's part of a connection: a local end, first numbers, and what rewrites its packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.base import Ends
from lvsd.core.local_ports import LocalPorts
from lvsd.core.sequence_numbers import SequenceNumbers
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.translator import Translator
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from lvsd.core.connection import Connection
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.local_pool import LocalPool
    from lvsd.core.path import Path
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import RealServer
    from lvsd.packet.translation import Memory
    from schedulers.base import Flow


class Translations:
    """Gives connections their local ends and translations, and takes both back.

    ``client_address`` counts what real servers were told of clients. Where all ports towards a
    real server are taken, ``make_room`` is to end a connection that is still opening.
    """

    def __init__(
        self,
        find: Callable[[bytes], Connection | None],
        origin: Origin,
        make_room: Callable[[Connection], None],
    ) -> None:
        self.numbers = SequenceNumbers(origin)
        self._make_room = make_room
        self.local_ports = LocalPorts(find, origin.port)
        self.client_address = ClientAddressCounts()

    def take(
        self, server: RealServer, protocol: int, rport: int, owned: Container[bytes] | None
    ) -> tuple[bytes, FreePorts] | None:
        """Return the key of replies to a free local endpoint, and whose port it is; or None."""
        service, real = server.service, (server.address, rport)
        pool, turn = service.config.local, service.turn
        taken = self.local_ports.take(pool, turn, protocol, real, owned)
        if taken is None:
            opening = self.local_ports.oldest_opening(pool, turn, protocol, real, owned)
            if opening is not None:
                self._make_room(opening)
                taken = self.local_ports.take(pool, turn, protocol, real, owned)
        return taken

    def begin(self, connection: Connection, local: FreePorts, flow: Flow, now: float) -> None:
        """Make the translation of a connection that has its keys. Raise what a forwarder raises."""
        path, reply_key = connection.path, connection.reply_key
        translator = path.translator or self._translator(path, flow, reply_key)
        number = self.numbers.first(reply_key, now)
        connection.translation = translator.translation(connection.key, reply_key, number)
        self.local_ports.opens(local, reply_key)

    def claim(self, pool: LocalPool, reply_key: bytes, now: float) -> FreePorts:
        """Give a connection that somebody else knew its local end; return whose port that is.

        Numbers of new connections are above those that there were before ``now``. Raise ValueError
        if a connection has it.
        """
        local = self.local_ports.claim(pool, reply_key)
        self.local_ports.opens(local, reply_key)
        self.numbers.first(reply_key, now)
        return local

    def go_on(self, connection: Connection, flow: Flow, memory: Memory) -> None:
        """Make the translation of a connection that somebody else knew.

        Raise ValueError where its memory is of another kind, and what a forwarder raises.
        """
        path, reply_key = connection.path, connection.reply_key
        translator = path.translator or self._translator(path, flow, reply_key)
        translation = translator.translation(connection.key, reply_key, 0)
        translation.remember(memory)
        connection.translation = translation

    def _translator(self, path: Path, flow: Flow, reply_key: bytes) -> Translator:
        """Make a path's translator, of the plan of its first connection."""
        real, local = split_key(reply_key)
        ends = Ends(
            flow.destination,
            flow.destination_port,
            *real,
            local=local,
            client=(flow.source, flow.source_port),
        )
        plan = path.server.config.forwarder.plan(ends)
        translator = Translator(plan, path.protocol.number, self.client_address)
        path.translator = translator
        path.overhead = translator.growth
        return translator

    def end(self, connection: Connection, local: FreePorts) -> None:
        """Take back the local end of a connection; a later one there begins above its numbers."""
        self.give_back(connection.reply_key, local)
        translation = connection.translation
        expected = None if translation is None else translation.server_acked
        if expected is not None:
            self.numbers.seen(connection.reply_key, expected)

    def give_back(self, reply_key: bytes, local: FreePorts) -> None:
        """Take back a local end that no connection came to have."""
        self.local_ports.give_back(local, split_key(reply_key)[1][1])
