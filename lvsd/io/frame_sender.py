"""Send packets to neighbours as frames of our own: direct routing.

A frame is an Ethernet header, from the MAC of the interface that leads to the neighbour to the
neighbour's own, and the packet as it is. It meets no hook of netfilter on its way out. One
AF_PACKET socket per interface, which receives nothing, as it is bound to no protocol (packet(7)).

MACs are the kernel's (`lvsd.io.neighbours`). While one is missing its packets wait, in order: at
most `PER_NEIGHBOUR` of one neighbour and `IN_ALL`, none for longer than `PATIENCE_S`. Each of them
is sent, given back to the caller as too long, or counted as dropped. A neighbour in use is asked
for every `ASK_S` seconds, as frames do not tell the kernel that it is in use.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.neighbours import Neighbours
from lvsd.io.packet_sender import widen_send_buffer
from lvsd.io.routes import ways
from lvsd.packet.address import text
from lvsd.packet.numbers import ETHERTYPES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from lvsd.core.verdict import Departure
    from lvsd.io.neighbours import Place
    from lvsd.io.routes import Way

PER_NEIGHBOUR: Final = 64
IN_ALL: Final = 1024
PATIENCE_S: Final = 1.0
ASK_S: Final = 4.0
"""Less than the kernel's delay_first_probe_time (5 s), so that a neighbour in use is never idle."""
ASK_AGAIN_S: Final = 1.0
"""How often one is looked for who does not answer; the kernel itself sends a request a second."""
PLACED_AT_ONCE: Final = 16
"""Neighbours that are looked up in one step: three questions to the kernel each."""
FORGET_S: Final = 60.0
"""How long a neighbour is remembered that nothing is sent to."""

_NEVER: Final = float("-inf")


@dataclass(slots=True)
class FrameStats:
    """What became of the packets, counted from when the sender was opened."""

    sent: int = 0
    failed: int = 0
    """Not sent, each by the errno in `FrameSender.errors`."""
    too_long: int = 0
    """Given back to the caller: longer than the MTU of the way."""
    waiting: int = 0
    """For a MAC, now."""
    expired: int = 0
    """Dropped: no MAC within a second, or before the end."""
    crowded: int = 0
    """Dropped: too many were waiting."""
    no_neighbour: int = 0
    """Dropped: the address is not on an Ethernet link of this host (`FrameSender.problems`)."""


class _Neighbour:
    """One real server: the way to it, the headers of its frames, and what waits for them."""

    __slots__ = (
        "address",
        "asked",
        "headers",
        "mtu",
        "place",
        "problem",
        "queue",
        "silent",
        "used",
    )

    def __init__(self, address: bytes, now: float) -> None:
        self.address = address
        self.place: Place = (0, address)
        self.mtu = 0
        self.headers: dict[int, bytes] | None = None
        """IP version -> Ethernet header; None without a MAC."""
        self.problem: str | None = "no route"
        self.silent = False
        self.asked = _NEVER
        self.used = now
        self.queue: deque[tuple[float, Departure]] = deque()
        """Deadline and packet."""


class FrameSender:
    """Sends packets to the MACs of neighbours; never waits.

    ``clock`` tells the seconds that `send` and `tick` are handed, for packets that leave when a
    neighbour has answered. ``on_too_long`` is called with a packet that waited and is longer than
    its way takes by now, and with the MTU in bytes.
    """

    def __init__(
        self, clock: Callable[[], float], on_too_long: Callable[[Departure, int], None]
    ) -> None:
        self._clock = clock
        self._on_too_long = on_too_long
        self._table = Neighbours(self._answered)
        self._neighbours: dict[bytes, _Neighbour] = {}
        self._macs: dict[int, bytes] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._stale = False
        """Something could not be looked up."""
        self.stats = FrameStats()
        self.errors: Counter[str] = Counter()
        """Name of the errno -> packets."""

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the neighbours on ``loop``. Raise PrivilegeError without CAP_NET_RAW, KernelError.

        Sockets for frames are opened when the first packet goes out of an interface.
        """
        try:
            _frame_socket().close()
        except PermissionError as error:
            raise PrivilegeError(
                "open a packet socket", error, "run lvsd as root or with CAP_NET_RAW"
            ) from error
        except OSError as error:
            raise KernelError("open a packet socket", error, "it needs CONFIG_PACKET") from error
        self._table.open(loop)

    def close(self) -> None:
        """Close everything; what waits is dropped. Harmless when done twice."""
        self._table.close()
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        for each in self._neighbours.values():
            self.stats.expired += len(each.queue)
        self._neighbours.clear()
        self.stats.waiting = 0

    def send(self, packet: Departure, neighbour: bytes, now: float) -> int:
        """Send a packet that begins at its IP header to the MAC of a packed address.

        Return 0 when it went, waits, or cannot ever go; the MTU of the way in bytes when the
        packet is longer. ``now`` in seconds. Never raises: what fails is counted.
        """
        to = self._neighbours.get(neighbour) or self._meet(neighbour, now)
        to.used = now
        if to.problem is not None:
            self.stats.no_neighbour += 1
            return 0
        if to.headers is not None or len(packet.data) > to.mtu:
            return self._transmit(to, packet.data)
        self._wait(to, packet, now)
        return 0

    def tick(self, now: float) -> None:
        """Drop what waited too long, and ask for who is in use. Call it once a second or so.

        Ways that the kernel would not tell are looked up again.
        """
        if self._stale:
            self.refresh()
        ask = []
        for address, each in list(self._neighbours.items()):
            self._expire(each, now)
            if now - each.used >= FORGET_S:
                self._table.forget(each.place)
                del self._neighbours[address]
            elif each.problem is None and each.used > each.asked:
                pause = ASK_S if each.headers is not None else ASK_AGAIN_S
                if now - each.asked >= pause:
                    each.asked = now
                    ask.append(each.place)
        self._table.ask(ask)

    def refresh(self) -> None:
        """Look up all ways anew: routes, links or addresses changed. Never raises."""
        for _ in self.refreshing():
            pass

    def refreshing(self) -> Iterator[None]:
        """Do the same step by step; packets may be sent between two of them."""
        self._stale = False
        left = list(self._neighbours.values())
        while left:
            some = [each for each in left[:PLACED_AT_ONCE] if each.address in self._neighbours]
            del left[:PLACED_AT_ONCE]
            self._place(some)
            for each in some:
                self._send_waiting(each)
            yield
        wanted = {each.place[0] for each in self._neighbours.values() if each.problem is None}
        for interface in self._sockets.keys() - wanted:
            self._sockets.pop(interface).close()

    def problems(self) -> dict[bytes, str]:
        """Return why packets to an address cannot be sent, or whom nobody answers for."""
        found = {}
        for address, each in self._neighbours.items():
            if each.problem is not None:
                found[address] = each.problem
            elif each.silent:
                asking = "ARP" if len(address) == 4 else "neighbour discovery"
                found[address] = f"does not answer {asking}"
        return found

    def _meet(self, address: bytes, now: float) -> _Neighbour:
        each = self._neighbours[address] = _Neighbour(address, now)
        self._place([each])
        return each

    def _place(self, neighbours: list[_Neighbour]) -> None:
        """Find out where neighbours are, and what their MACs are if the kernel knows them.

        Nothing is sent. What waits for somebody who cannot be reached any more is dropped. When
        the kernel does not tell, as without descriptors, known ways stay as they are.
        """
        found: dict[bytes, Way | None] = {}
        try:
            found = ways(each.address for each in neighbours)
        except KernelError as error:
            self._stale = True
            for each in neighbours:
                if each.problem is not None:
                    each.problem = str(error)
            return
        for each in neighbours:
            self._lead(each, found.get(each.address))
        here = [each for each in neighbours if each.problem is None]
        if not self._table.watch(each.place for each in here):
            self._stale = True
            return
        for each in here:
            self._take_mac(each)

    def _lead(self, each: _Neighbour, way: Way | None) -> None:
        """Take over the way to a neighbour, with a socket for it, or why there is none."""
        each.problem = _problem(each.address, way)
        self._table.forget(each.place)
        if way is not None and each.problem is None:
            each.place = (way.interface, each.address)
            each.mtu = way.mtu
            self._macs[way.interface] = way.mac
            try:
                if way.interface not in self._sockets:
                    self._sockets[way.interface] = _frame_socket(way.interface)
            except OSError as error:
                each.problem = f"no packet socket: {error.strerror}"
                self._stale = True
        if each.problem is not None:
            self.stats.waiting -= len(each.queue)
            self.stats.no_neighbour += len(each.queue)
            each.queue.clear()

    def _answered(self, place: Place) -> None:
        """Take over a neighbour's MAC, or that it has none; send what waited for it."""
        each = self._neighbours.get(place[1])
        if each is None or each.place != place or each.problem is not None:
            return
        self._take_mac(each)
        self._send_waiting(each)

    def _take_mac(self, each: _Neighbour) -> None:
        mac = self._table.mac(each.place)
        if mac is None:
            each.headers = None
            each.asked = _NEVER
            return
        each.silent = False
        ends = mac + self._macs[each.place[0]]
        each.headers = {version: ends + kind for version, kind in ETHERTYPES.items()}

    def _send_waiting(self, each: _Neighbour) -> None:
        """Send what waits for a neighbour, as long as its MAC is known: the way may end midway."""
        self._expire(each, self._clock())
        while each.queue and each.headers is not None:
            _, packet = each.queue.popleft()
            self.stats.waiting -= 1
            if mtu := self._transmit(each, packet.data):
                self._on_too_long(packet, mtu)
        if each.queue and self._clock() - each.asked >= ASK_AGAIN_S:
            each.asked = self._clock()
            self._table.ask([each.place])

    def _transmit(self, to: _Neighbour, data: bytes) -> int:
        """Send a frame; return the MTU where that is less than the packet, else 0."""
        if len(data) > to.mtu:
            self.stats.too_long += 1
            return to.mtu
        try:
            self._sockets[to.place[0]].send((to.headers or {})[data[0] >> 4] + data)
        except LookupError:  # not an IP packet
            return self._failed(errno.EINVAL)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._place([to])
                if to.problem is None and to.mtu < len(data):
                    self.stats.too_long += 1
                    return to.mtu
            return self._failed(error.errno)
        self.stats.sent += 1
        return 0

    def _wait(self, to: _Neighbour, packet: Departure, now: float) -> None:
        """Keep a packet until its neighbour's MAC is known, and see that somebody asks for it."""
        self._expire(to, now)
        if len(to.queue) >= PER_NEIGHBOUR or self.stats.waiting >= IN_ALL:
            self.stats.crowded += 1
            return
        to.queue.append((now + PATIENCE_S, packet))
        self.stats.waiting += 1
        if now - to.asked >= ASK_AGAIN_S:
            to.asked = now
            self._table.ask([to.place])

    def _expire(self, each: _Neighbour, now: float) -> None:
        while each.queue and each.queue[0][0] <= now:
            each.queue.popleft()
            self.stats.waiting -= 1
            self.stats.expired += 1
            each.silent = each.headers is None

    def _failed(self, number: int | None) -> int:
        self.stats.failed += 1
        self.errors[errno.errorcode.get(number or 0, str(number))] += 1
        return 0


def _problem(address: bytes, way: Way | None) -> str | None:
    """Return why no frame can be sent to an address by this way; None if one can."""
    if way is None:
        return "no route"
    if not way.is_ethernet or len(way.mac) != 6:
        return f"reached over {way.name}, which is not Ethernet"
    if way.gateway is not None and way.gateway != address:
        return f"behind the router {text(way.gateway)}, not on the link {way.name}"
    return None


def _frame_socket(interface: int | None = None) -> socket.socket:
    """Return a packet socket that only sends, out of one interface. Raise OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        if interface is not None:
            sock.bind((socket.if_indextoname(interface), 0))
        widen_send_buffer(sock)
    except OSError:
        sock.close()
        raise
    return sock
