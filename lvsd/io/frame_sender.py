"""Send packets to neighbours as frames of our own: direct routing.

A frame is an Ethernet header, from the MAC of the interface that leads to the neighbour to the
neighbour's own, and the packet as it is. It meets no hook of netfilter on its way out. One
AF_PACKET socket per interface, which receives nothing, as it is bound to no protocol (packet(7)).

Which interface, and which MACs, is told from outside (`lvsd.io.leads`): the kernel is asked
nothing about its network here. While the neighbour's MAC is missing its packets wait, in order: at
most `PER_NEIGHBOUR` of one neighbour and `IN_ALL`, none for longer than `PATIENCE_S`. Each of them
is sent, given back to the caller as too long, or counted as dropped. A neighbour in use is asked
for every `ASK_S` seconds, as frames do not tell the kernel that it is in use.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.core.values import ANY_MTU
from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.leads import Lead
from lvsd.io.packet_sender import widen_send_buffer
from lvsd.packet.numbers import ETHERTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lvsd.core.verdict import Departure

PER_NEIGHBOUR: Final = 64
IN_ALL: Final = 1024
PATIENCE_S: Final = 1.0
ASK_S: Final = 4.0
"""Less than the kernel's delay_first_probe_time (5 s), so that a neighbour in use is never idle."""
ASK_AGAIN_S: Final = 1.0
"""How often one is looked for who does not answer; the kernel itself sends a request a second."""
IDLE_S: Final = 60.0
"""Who was sent nothing for so long is of no interest: nobody is told what is wrong there."""

_NEVER: Final = float("-inf")
_SIOCGIFMTU: Final = 0x8921
_IFREQ: Final = struct.Struct("@16si20x")  # name, MTU
_NOWHERE: Final = Lead(mtu=ANY_MTU)
"""The lead of a neighbour of which nothing was told."""


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
    """One real server: what leads to it, the headers of its frames, and what waits for them."""

    __slots__ = ("asked", "headers", "lead", "mtu", "queue", "silent", "used")

    def __init__(self) -> None:
        self.lead = _NOWHERE
        self.mtu = _NOWHERE.mtu
        self.headers: dict[int, bytes] | None = None
        """IP version -> Ethernet header; None without a MAC."""
        self.silent = False
        self.asked = _NEVER
        self.used = _NEVER
        self.queue: deque[tuple[float, Departure]] = deque()
        """Deadline and packet."""


class FrameSender:
    """Sends packets to the MACs of neighbours; never waits.

    ``clock`` tells the seconds that `send` and `tick` are handed, for packets that leave when a
    neighbour has answered. ``on_too_long`` is called with a packet that waited and is longer than
    its way takes by now, and with the MTU in bytes. ``ask`` is called with packed addresses of
    neighbours that are in use, or missing: see that the kernel looks for them, and tell `leads`
    what it finds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_too_long: Callable[[Departure, int], None],
        ask: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._clock = clock
        self._on_too_long = on_too_long
        self._ask = ask
        self._neighbours: dict[bytes, _Neighbour] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._again: dict[bytes, Lead | None] = {}
        """Leads to interfaces for which no socket could be opened."""
        self.stats = FrameStats()
        self.errors: Counter[str] = Counter()
        """Name of the errno -> packets."""

    def open(self) -> None:
        """See that frames can be sent. Raise PrivilegeError without CAP_NET_RAW, KernelError.

        The sockets for frames are opened when something leads out of their interfaces.
        """
        try:
            _frame_socket().close()
        except PermissionError as error:
            raise PrivilegeError(
                "open a packet socket", error, "run lvsd as root or with CAP_NET_RAW"
            ) from error
        except OSError as error:
            raise KernelError("open a packet socket", error, "it needs CONFIG_PACKET") from error

    def close(self) -> None:
        """Close everything; what waits is dropped. Harmless when done twice."""
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
        to = self._neighbours.get(neighbour) or self._meet(neighbour)
        to.used = now
        if to.lead.problem is not None:
            self.stats.no_neighbour += 1
            return 0
        if to.headers is not None or len(packet.data) > to.mtu:
            return self._transmit(to, packet.data)
        self._wait(neighbour, to, packet, now)
        return 0

    def leads(self, leads: Mapping[bytes, Lead | None]) -> None:
        """Take over leads that are new or changed, by packed address; send what waited for them.

        None: nothing leads there any more. What waits for somebody who cannot be reached any more
        is dropped. Never raises.
        """
        for address, lead in leads.items():
            self._again.pop(address, None)
            if lead is None:
                if gone := self._neighbours.pop(address, None):
                    self._drop_waiting(gone)
                continue
            each = self._neighbours.get(address) or self._meet(address)
            self._take(address, each, lead)
            self._send_waiting(address, each)
        wanted = {each.lead.interface for each in self._neighbours.values()}
        for interface in self._sockets.keys() - wanted:
            self._sockets.pop(interface).close()

    def tick(self, now: float) -> None:
        """Drop what waited too long, and ask for who is in use. Call it once a second or so."""
        self.leads(self._again.copy())
        ask = []
        for address, each in list(self._neighbours.items()):
            self._expire(each, now)
            if each.lead is _NOWHERE and now - each.used >= IDLE_S:
                del self._neighbours[address]
            elif each.lead.problem is None and each.used > each.asked:
                pause = ASK_S if each.headers is not None else ASK_AGAIN_S
                if now - each.asked >= pause:
                    each.asked = now
                    ask.append(address)
        if ask:
            self._ask(ask)

    def problems(self) -> dict[bytes, str]:
        """Return why packets to an address cannot be sent, or whom nobody answers for."""
        found = {}
        now = self._clock()
        for address, each in self._neighbours.items():
            if now - each.used >= IDLE_S:
                continue
            if each.lead.problem is not None:
                found[address] = each.lead.problem
            elif each.silent:
                asking = "ARP" if len(address) == 4 else "neighbour discovery"
                found[address] = f"does not answer {asking}"
        return found

    def _meet(self, address: bytes) -> _Neighbour:
        each = self._neighbours[address] = _Neighbour()
        return each

    def _take(self, address: bytes, each: _Neighbour, lead: Lead) -> None:
        """Take over what leads to a neighbour, with a socket for it, or why nothing does."""
        if lead.problem is None and lead.interface not in self._sockets:
            try:
                self._sockets[lead.interface] = _frame_socket(lead.interface)
            except OSError as error:
                self._again[address] = lead
                lead = Lead(problem=f"no packet socket: {error.strerror}")
        is_new = each.headers is not None or lead.interface != each.lead.interface
        each.lead, each.mtu, each.headers = lead, lead.mtu, None
        if lead.problem is not None:
            self._drop_waiting(each)
        elif lead.mac is not None:
            each.silent = False
            ends = lead.mac + lead.own_mac
            each.headers = {version: ends + kind for version, kind in ETHERTYPES.items()}
        elif is_new:  # nobody has been asked for the MAC on this link since it was lost
            each.asked = _NEVER

    def _drop_waiting(self, each: _Neighbour) -> None:
        self.stats.waiting -= len(each.queue)
        self.stats.no_neighbour += len(each.queue)
        each.queue.clear()

    def _send_waiting(self, address: bytes, each: _Neighbour) -> None:
        """Send what waits for a neighbour, as long as its MAC is known: the way may end midway."""
        self._expire(each, self._clock())
        while each.queue and each.headers is not None:
            _, packet = each.queue.popleft()
            self.stats.waiting -= 1
            if mtu := self._transmit(each, packet.data):
                self._on_too_long(packet, mtu)
        if each.queue:
            self._ask_again(address, each, self._clock())

    def _transmit(self, to: _Neighbour, data: bytes) -> int:
        """Send a frame; return the MTU where that is less than the packet, else 0."""
        if len(data) > to.mtu:
            self.stats.too_long += 1
            return to.mtu
        try:
            sock = self._sockets[to.lead.interface]
            sock.send((to.headers or {})[data[0] >> 4] + data)
        except LookupError:  # not an IP packet
            return self._failed(errno.EINVAL)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:  # the link shrank, and nobody has said so yet
                to.mtu = _mtu(sock, to.lead.name) or to.mtu
                if to.mtu < len(data):
                    self.stats.too_long += 1
                    return to.mtu
            return self._failed(error.errno)
        self.stats.sent += 1
        return 0

    def _wait(self, address: bytes, to: _Neighbour, packet: Departure, now: float) -> None:
        """Keep a packet until its neighbour's MAC is known, and see that somebody asks for it."""
        self._expire(to, now)
        if len(to.queue) >= PER_NEIGHBOUR or self.stats.waiting >= IN_ALL:
            self.stats.crowded += 1
            return
        to.queue.append((now + PATIENCE_S, packet))
        self.stats.waiting += 1
        self._ask_again(address, to, now)

    def _ask_again(self, address: bytes, each: _Neighbour, now: float) -> None:
        if now - each.asked >= ASK_AGAIN_S:
            each.asked = now
            self._ask([address])

    def _expire(self, each: _Neighbour, now: float) -> None:
        while each.queue and each.queue[0][0] <= now:
            each.queue.popleft()
            self.stats.waiting -= 1
            self.stats.expired += 1
            each.silent = each.headers is None and each.lead is not _NOWHERE

    def _failed(self, number: int | None) -> int:
        self.stats.failed += 1
        self.errors[errno.errorcode.get(number or 0, str(number))] += 1
        return 0


def _mtu(sock: socket.socket, interface: str) -> int:
    """Return the MTU of the interface of a name now, 0 without it (netdevice(7))."""
    try:
        answer = fcntl.ioctl(sock, _SIOCGIFMTU, _IFREQ.pack(interface.encode(), 0))
    except OSError:
        return 0
    return int(_IFREQ.unpack(answer)[1])


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
