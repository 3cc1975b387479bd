"""Data from the client to whichever real server gets it: a TCP stream, or numbered datagrams.

Both ends are in one thread and one loop; their sockets belong to hosts of the lab, and the network
is between them. A transfer ends when all has arrived, or with TimeoutError when nothing moves.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import PATIENCE_S
from tests.netns.traffic.sockets import MAX_DATAGRAM, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

Address: TypeAlias = tuple[str, int]

MTU_BYTES: Final = 1500
HEADERS_BYTES: Final = {"tcp": {"v4": 40, "v6": 60}, "udp": {"v4": 28, "v6": 48}}
"""The least that IP and the protocol put in front of a packet's data."""

READ_BYTES: Final = 1 << 20

NUMBER: Final = struct.Struct("!I")
"""Begins each datagram; an acknowledgement is a row of those that have come."""

PIECE_BYTES: Final = 1400 - NUMBER.size
"""The data in a datagram. With the headers of UDP and of two IPv6 it fits into the MTU."""

WINDOW: Final = 64
"""Datagrams without an acknowledgement, at most. A socket's usual buffer takes as many."""

QUIET_S: Final = 0.2 * PATIENCE
"""When nothing has come for so long, what is not acknowledged is sent again."""

ROUNDS: Final = 50
"""How often that happens in a transfer, at most."""


@dataclass(frozen=True)
class Ends:
    """The client and where it sends to; the real servers, each with where it listens."""

    family: Family
    client: Namespace
    service: Address
    servers: Mapping[Namespace, Address]

    @contextlib.contextmanager
    def open(self, kind: int) -> Iterator[tuple[socket.socket, dict[socket.socket, Namespace]]]:
        """Open a socket of the client, and one of each server, which is bound."""
        with contextlib.ExitStack() as stack:
            servers = {}
            for server, address in self.servers.items():
                sock = stack.enter_context(opened(server, self.family, kind))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                servers[sock] = server
            yield stack.enter_context(opened(self.client, self.family, kind)), servers


@dataclass(frozen=True)
class Arrival:
    """What came to which server, in how many packets at least, and their length in all."""

    server: Namespace
    data: bytes
    packets: int
    packets_bytes: int


def by_tcp(ends: Ends, data: bytes) -> Arrival:
    """Send all on one connection; want the server to answer with its name."""
    with ends.open(socket.SOCK_STREAM) as (near, servers):
        for listener in servers:
            listener.listen()
        near.connect(ends.service)
        [listener], _ = _ready([*servers])
        server = servers[listener]
        with listener.accept()[0] as far:
            received = _stream(near, far, data)
            far.sendall(server.host.encode())
        _ready([near])
        assert near.recv(READ_BYTES).decode() == server.host
    headers_bytes = HEADERS_BYTES["tcp"][ends.family]
    packets = 1 + -(-len(data) // (MTU_BYTES - headers_bytes))  # the first one is the SYN
    return Arrival(server, received, packets, len(data) + packets * headers_bytes)


def _stream(near: socket.socket, far: socket.socket, data: bytes) -> bytes:
    """Send all from the near end, then its FIN; return what has come to the far end by then."""
    near.setblocking(False)
    far.setblocking(False)
    unsent = memoryview(data)
    received = bytearray()
    while True:
        readable, writable = _ready([far], [near] if unsent else [])
        if writable:
            unsent = unsent[near.send(unsent) :]
            if not unsent:
                near.shutdown(socket.SHUT_WR)
        if readable:
            piece = far.recv(READ_BYTES)
            if not piece:
                return bytes(received)
            received += piece


def _ready(
    readers: Sequence[socket.socket], writers: Sequence[socket.socket] = ()
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Return which can be read and which written. Raise TimeoutError when that takes too long."""
    readable, writable, _ = select.select(readers, writers, [], PATIENCE_S)
    if not readable and not writable:
        raise TimeoutError(f"nothing moved for {PATIENCE_S:.0f} s")
    return readable, writable


def by_udp(ends: Ends, data: bytes) -> Arrival:
    """Send all in datagrams of `PIECE_BYTES`; want an acknowledgement of each."""
    starts = range(0, len(data), PIECE_BYTES)
    datagrams = [
        NUMBER.pack(number) + data[start : start + PIECE_BYTES]
        for number, start in enumerate(starts)
    ]
    with ends.open(socket.SOCK_DGRAM) as (near, servers):
        near.connect(ends.service)
        sender = _Sender(near, datagrams)
        receivers = {sock: _Receiver(sock) for sock in servers}
        listening: dict[socket.socket, _Sender | _Receiver] = {near: sender, **receivers}
        for sock in listening:
            sock.setblocking(False)
        while not sender.done:
            sender.fill()
            readable = select.select(listening, [], [], QUIET_S)[0]
            for sock in readable:
                listening[sock].listen()
            if not readable:
                sender.repeat()
    [(server, pieces)] = [
        (servers[sock], receiver.pieces) for sock, receiver in receivers.items() if receiver.pieces
    ]
    whole = b"".join(pieces[number] for number in sorted(pieces))
    headers_bytes = HEADERS_BYTES["udp"][ends.family] * len(datagrams)
    return Arrival(server, whole, len(datagrams), sum(map(len, datagrams)) + headers_bytes)


@dataclass
class _Sender:
    """The client's end. ``begun`` datagrams were sent; those ``waiting`` have no acknowledgement.

    ``rounds`` is how often these were sent again.
    """

    sock: socket.socket
    datagrams: Sequence[bytes]
    begun: int = 0
    waiting: set[int] = field(default_factory=set)
    rounds: int = 0

    @property
    def done(self) -> bool:
        """Whether all are acknowledged."""
        return self.begun == len(self.datagrams) and not self.waiting

    def fill(self) -> None:
        """Send as many new ones as the window has room for."""
        end = min(len(self.datagrams), self.begun + WINDOW - len(self.waiting))
        fresh = range(self.begun, end)
        self._send(fresh)
        self.waiting.update(fresh)
        self.begun = end

    def listen(self) -> None:
        """Take in the acknowledgements that have come."""
        for numbers, _ in _come(self.sock):
            self.waiting.difference_update(number for (number,) in NUMBER.iter_unpack(numbers))

    def repeat(self) -> None:
        """Send again what was not acknowledged. Raise TimeoutError after `ROUNDS` times."""
        self.rounds += 1
        if self.rounds > ROUNDS:
            missing = len(self.datagrams) - self.begun + len(self.waiting)
            raise TimeoutError(f"{missing} datagrams are missing after {ROUNDS} rounds")
        self._send(sorted(self.waiting))

    def _send(self, numbers: Sequence[int]) -> None:
        with contextlib.suppress(BlockingIOError):  # as good as lost on the way
            for number in numbers:
                self.sock.send(self.datagrams[number])


@dataclass
class _Receiver:
    """A real server's end: keeps the data by its number."""

    sock: socket.socket
    pieces: dict[int, bytes] = field(default_factory=dict)

    def listen(self) -> None:
        """Take in what has come, and acknowledge it in one datagram."""
        came = _come(self.sock)
        for datagram, _ in came:
            self.pieces[NUMBER.unpack_from(datagram)[0]] = datagram[NUMBER.size :]
        for peer in {peer for _, peer in came}:
            numbers = b"".join(datagram[: NUMBER.size] for datagram, its in came if its == peer)
            self.sock.sendto(numbers, peer)


def _come(sock: socket.socket) -> list[tuple[bytes, Address]]:
    """Return the datagrams that wait at a socket, a window of them at most, and who sent them."""
    came: list[tuple[bytes, Address]] = []
    with contextlib.suppress(BlockingIOError):
        while len(came) < WINDOW:
            came.append(sock.recvfrom(MAX_DATAGRAM))
    return came
