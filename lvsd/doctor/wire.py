"""Ask on the wire and listen for what comes back: all questions at once, for about a second.

Answers are read off a packet socket, as many of them would not get past the kernel: one from a
virtual address that is this host's own is a martian to it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.doctor import packets, segments
from lvsd.doctor.listener import RECEIVE, listener
from lvsd.doctor.snapshot import Answer, Answers, Echo, Syn
from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.packet_sender import PacketSender
from lvsd.packet import neighbour
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Self

    from forwarders.plan import Encapsulate
    from lvsd.doctor.snapshot import Ask, Handshake, Question

PATIENCE_S: Final = 1.0
"""How long to wait for answers, unless the operator says otherwise."""

REPEAT: Final = 0.4
"""At which part of that time to ask again who has not answered: a first packet may be lost."""

QUIET: Final = 0.2
"""For which part of that time to wait, at least, for those who had better not answer, once all
others have: nobody else is known to be slower. See `SLOWER`."""

SLOWER: Final = 10
"""How many times as long as the slowest answer took to wait for them, at least."""

MOST: Final = 8192
"""Questions at once; more are left out."""

Places: TypeAlias = Mapping[bytes, tuple[str, bytes]]
"""Neighbour -> interface and MAC."""


class Wire:
    """Sockets to ask and to listen by; a context manager.

    ``macs`` are those of this host's interfaces, ``patience_s`` is how long to wait for answers.
    Raise PrivilegeError without CAP_NET_RAW, KernelError otherwise.
    """

    def __init__(self, macs: Mapping[str, bytes], patience_s: float = PATIENCE_S) -> None:
        self._macs = macs
        self._patience_s = patience_s
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._number = 0
        self._undo = ExitStack()
        self._frames: dict[str, socket.socket] = {}
        self._packets = PacketSender()
        try:
            self._packets.open()
            self._undo.callback(self._packets.close)
            self._port = self._undo.enter_context(_unused_port()).getsockname()[1]
            self._listener = self._undo.enter_context(listener(self._identifier, self._port))
        except OSError as error:
            self._undo.close()
            kind = PrivilegeError if isinstance(error, PermissionError) else KernelError
            remedy = "run lvsd doctor as root or with CAP_NET_RAW"
            raise kind("open a packet socket", error, remedy) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def exchange(
        self,
        asks: Sequence[Ask],
        asked: Sequence[Question],
        places: Places | None = None,
        *,
        quiet: Collection[Question] | None = None,
    ) -> Answers:
        """Return what was answered in time; sooner when everybody has answered.

        ``places`` has the interface and the MAC of each neighbour that is asked; another one is
        not asked. ``quiet`` are questions that had better not be answered, nor any of ``asks``
        then: they are given less time once all others are. What cannot be sent counts as not
        answered. A connection that a SYN opens is reset. Raises nothing.
        """
        asks, asked = list(dict.fromkeys(asks)), list(dict.fromkeys(asked))
        unasked = max(0, len(asks) - MOST) + max(0, len(asked) - MOST)
        round_ = _Round(asks[:MOST], asked[:MOST], self._number, places or {}, quiet)
        self._number = (self._number + MOST) & 0xFFFF
        begin = time.monotonic()
        times = Times(begin, self._patience_s)
        self._send(round_)
        if not self._listen(round_, times, lambda: times.again):
            self._send(round_)
            self._listen(round_, times, lambda: times.end)
        macs = {ask: frozenset(found) for ask, found in round_.macs.items() if found}
        return Answers(macs, round_.echoes, round_.handshakes, unasked)

    def _send(self, round_: _Round) -> None:
        """Ask everybody who has not answered."""
        for ask, found in round_.macs.items():
            if not found and (mac := self._macs.get(ask.interface)):
                frame = neighbour.who_has(ask.address, ask.source, mac)
                self._send_frame(ask.interface, frame)
        for number, asked in round_.unanswered():
            if isinstance(asked, Echo):
                ends = asked.source, asked.destination
                packet = packets.echo(*ends, self._identifier, number, asked.size)
            else:
                packet = segments.syn(asked, self._port, self._identifier, number)
            self._send_packet(asked, packet, round_.places)

    def _send_packet(self, asked: Question, packet: bytes, places: Places) -> None:
        """Send a packet of a question's the way that the question goes."""
        if asked.tunnel is not None:
            packet = _wrapped(packet, asked.tunnel)
        if asked.neighbour is None:
            self._packets.send(packet)
        elif asked.neighbour in places:
            interface, mac = places[asked.neighbour]
            source = self._macs.get(interface, bytes(6))
            self._send_frame(interface, neighbour.frame(mac, source, packet))

    def _send_frame(self, interface: str, frame: bytes) -> None:
        try:
            if interface not in self._frames:
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
                self._undo.enter_context(sock)
                sock.bind((interface, 0))
                self._frames[interface] = sock
            self._frames[interface].send(frame)
        except OSError:  # an interface that is gone or down: nobody answers there
            return

    def _listen(self, round_: _Round, times: Times, deadline: Callable[[], float]) -> bool:
        """Take in answers until the deadline; return True as soon as none is missing.

        What has come by then is taken, too, however late we get to look.
        """
        late = 0
        while not round_.done and late < MOST:
            if round_.only_quiet_left:
                times.hasten(time.monotonic())
            left = deadline() - time.monotonic()
            late += left <= 0
            if not select.select([self._listener], [], [], max(0.0, left))[0]:
                return False
            try:
                data, (interface, kind, _, _, mac) = self._listener.recvfrom(RECEIVE)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN}:
                    continue
                return False
            self._take(round_, data, interface, kind, mac)
        return round_.done

    def _take(self, round_: _Round, data: bytes, interface: str, kind: int, mac: bytes) -> None:
        """Note what a packet answers, if it answers anything; reset what a SYN has opened."""
        if found := neighbour.owner(kind, data, mac):
            round_.note_owner(interface, *found)
        elif kind == neighbour.ARP_TYPE:
            return
        elif told := packets.told(data, self._identifier):
            round_.note_echo(told.number, Answer(interface, mac, told.error, told.mtu))
        elif answer := segments.told(data, self._port, self._identifier):
            number, handshake = answer
            asked = round_.note_handshake(number, handshake)
            if asked and handshake.accepted:
                reset = segments.reset(asked, self._port, self._identifier, number)
                self._send_packet(asked, reset, round_.places)


class Times:
    """When to ask again, and when to stop listening."""

    def __init__(self, begin: float, patience_s: float) -> None:
        self.again = begin + REPEAT * patience_s
        self.end = begin + patience_s
        self._begin = begin
        self._least_s = QUIET * patience_s
        self._hastened = False

    def hasten(self, now: float) -> None:
        """Wait less from now on, when all have answered but those who had better not."""
        if self._hastened:
            return
        self._hastened = True
        left = max(self._least_s, SLOWER * (now - self._begin))
        self.again = min(self.again, now + left / 2)
        self.end = min(self.end, now + left)


class _Round:
    """Questions under way, and what has been answered."""

    def __init__(
        self,
        asks: Sequence[Ask],
        asked: Sequence[Question],
        first: int,
        places: Places,
        quiet: Collection[Question] | None,
    ) -> None:
        self.places = places
        self.macs: dict[Ask, set[bytes]] = {ask: set() for ask in asks}
        self._asked: dict[tuple[str, bytes], list[Ask]] = {}
        for ask in asks:
            self._asked.setdefault((ask.interface, ask.address), []).append(ask)
        self._numbers = {first + index & 0xFFFF: each for index, each in enumerate(asked)}
        self.echoes: dict[Echo, Answer] = {}
        self.handshakes: dict[Syn, Handshake] = {}
        self._waited_for = set() if quiet is None else {*asked} - {*quiet}
        self._any_waited_for = bool(self._waited_for)

    @property
    def done(self) -> bool:
        """Whether nobody is left who has not answered."""
        answered = len(self.echoes) + len(self.handshakes)
        return answered == len(self._numbers) and all(self.macs.values())

    @property
    def only_quiet_left(self) -> bool:
        """Whether somebody has answered, and all but those who had better not."""
        return self._any_waited_for and not self._waited_for

    def unanswered(self) -> Iterator[tuple[int, Question]]:
        """Yield the questions that nobody has answered, each with its number."""
        for number, asked in self._numbers.items():
            if asked not in self.echoes and asked not in self.handshakes:
                yield number, asked

    def note_owner(self, interface: str, address: bytes, mac: bytes) -> None:
        """Note who has an address."""
        for ask in self._asked.get((interface, address), ()):
            self.macs[ask].add(mac)

    def note_echo(self, number: int, answer: Answer) -> None:
        """Note what an echo was answered; a reply counts more than an error of another packet."""
        echo = self._numbers.get(number)
        if isinstance(echo, Echo) and not (answer.error and echo in self.echoes):
            self.echoes[echo] = answer
            self._waited_for.discard(echo)

    def note_handshake(self, number: int, handshake: Handshake) -> Syn | None:
        """Note what a SYN was answered; return that SYN, None if none has this number."""
        asked = self._numbers.get(number)
        if not isinstance(asked, Syn):
            return None
        self.handshakes[asked] = handshake
        self._waited_for.discard(asked)
        return asked


def _unused_port() -> socket.socket:
    """Return a socket that keeps a port of TCP from all others, and uses it for nothing.

    What comes to it the kernel answers by a RST. Raise OSError.
    """
    dual = socket.has_dualstack_ipv6()
    sock = socket.socket(socket.AF_INET6 if dual else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if dual:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", 0))
    except OSError:
        sock.close()
        raise
    return sock


def _wrapped(packet: bytes, tunnel: Encapsulate) -> bytes:
    """Return a packet in the tunnel's outer one, as the director writes it."""
    inner = Packet()
    inner.load(packet)
    return compile_tunnel(tunnel).wrap(inner, 1)
