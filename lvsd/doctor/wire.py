"""Ask on the wire and listen for what comes back: all questions at once, for about a second.

Answers are read off a packet socket, as many of them would not get past the kernel: one from a
virtual address that is this host's own is a martian to it. A filter in the kernel lets through
answers only, so that a busy director's traffic costs nothing here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import time
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Final

from lvsd.doctor import packets
from lvsd.doctor.snapshot import Answer, Answers
from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.packet_sender import PacketSender
from lvsd.packet.numbers import ICMP, ICMPV6, Icmp
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from forwarders.plan import Encapsulate
    from lvsd.doctor.snapshot import Ask, Echo

PATIENCE_S: Final = 1.0
"""How long to wait for answers, unless the operator says otherwise."""

REPEAT: Final = 0.4
"""At which part of that time to ask again who has not answered: a first packet may be lost."""

MOST: Final = 8192
"""Questions at once; more are left out."""

_ALL: Final = 0x0003  # ETH_P_ALL
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, packets.ARP_TYPE
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 4 << 20
_RECEIVE: Final = 1 << 16

# Classic BPF (linux/bpf_common.h). A cooked socket's filter begins at the network header.
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_X, _LOAD_BYTE_X, _LOAD_X_LENGTH = 0x48, 0x50, 0xB1
_EQUAL, _LESS_NOT, _RETURN = 0x15, 0x35, 0x06
_PACKET_TYPE, _PROTOCOL = 0xFFFFF004, 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PKTTYPE, _PROTOCOL


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
            self._listener = self._undo.enter_context(_listener(self._identifier))
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
        echoes: Sequence[Echo],
        places: Mapping[bytes, tuple[str, bytes]] | None = None,
    ) -> Answers:
        """Return what was answered in time; sooner when everybody has answered.

        ``places`` has the interface and the MAC of each neighbour of an echo; an echo to another
        neighbour is not sent. What cannot be sent counts as not answered. Raises nothing.
        """
        asks, echoes = list(dict.fromkeys(asks)), list(dict.fromkeys(echoes))
        unasked = max(0, len(asks) - MOST) + max(0, len(echoes) - MOST)
        round_ = _Round(self._identifier, asks[:MOST], echoes[:MOST], self._number)
        self._number = (self._number + MOST) & 0xFFFF
        begin = time.monotonic()
        for part in (REPEAT, 1.0):
            self._send(round_, places or {})
            if self._listen(round_, begin + part * self._patience_s):
                break
        macs = {ask: frozenset(found) for ask, found in round_.macs.items() if found}
        return Answers(macs, round_.answers, unasked)

    def _send(self, round_: _Round, places: Mapping[bytes, tuple[str, bytes]]) -> None:
        """Ask everybody who has not answered."""
        for ask, found in round_.macs.items():
            if not found and (mac := self._macs.get(ask.interface)):
                frame = packets.who_has(ask.address, ask.source, mac)
                self._send_frame(ask.interface, frame)
        for number, echo in round_.numbers.items():
            if echo in round_.answers:
                continue
            packet = packets.echo(
                echo.source, echo.destination, self._identifier, number, echo.size
            )
            if echo.tunnel is not None:
                packet = _wrapped(packet, echo.tunnel)
            if echo.neighbour is None:
                self._packets.send(packet)
            elif echo.neighbour in places:
                interface, mac = places[echo.neighbour]
                source = self._macs.get(interface, bytes(6))
                self._send_frame(interface, packets.frame(mac, source, packet))

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

    def _listen(self, round_: _Round, deadline: float) -> bool:
        """Take in answers until the deadline; return True as soon as none is missing."""
        while not round_.done:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._listener], [], [], left)[0]:
                return False
            try:
                data, (interface, kind, _, _, mac) = self._listener.recvfrom(_RECEIVE)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN}:
                    continue
                return False
            round_.take(data, interface, kind, mac)
        return True


class _Round:
    """Questions under way, and what has been answered."""

    def __init__(
        self, identifier: int, asks: Sequence[Ask], echoes: Sequence[Echo], first: int
    ) -> None:
        self._identifier = identifier
        self.macs: dict[Ask, set[bytes]] = {ask: set() for ask in asks}
        self._asked: dict[tuple[str, bytes], list[Ask]] = {}
        for ask in asks:
            self._asked.setdefault((ask.interface, ask.address), []).append(ask)
        self.numbers = {first + index & 0xFFFF: echo for index, echo in enumerate(echoes)}
        self.answers: dict[Echo, Answer] = {}

    @property
    def done(self) -> bool:
        """Whether nobody is left who has not answered."""
        return len(self.answers) == len(self.numbers) and all(self.macs.values())

    def take(self, data: bytes, interface: str, kind: int, mac: bytes) -> None:
        """Note what a packet answers, if it answers anything."""
        if found := packets.owner(kind, data, mac):
            address, owner = found
            for ask in self._asked.get((interface, address), ()):
                self.macs[ask].add(owner)
            return
        if kind == _ARP or (told := packets.told(data, self._identifier)) is None:
            return
        echo = self.numbers.get(told.number)
        if echo is None or (told.error and echo in self.answers):
            return  # a reply counts more than an error that another packet met
        self.answers[echo] = Answer(interface, mac, told.error, told.mtu)


def _wrapped(packet: bytes, tunnel: Encapsulate) -> bytes:
    """Return a packet in the tunnel's outer one, as the director writes it."""
    inner = Packet()
    inner.load(packet)
    return compile_tunnel(tunnel).wrap(inner, 1)


def _listener(identifier: int) -> socket.socket:
    """Return a packet socket that receives answers from all interfaces. Raise OSError.

    What came before it had its filter is read, too, and answers nothing.
    """
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL))
    try:
        code = _assembled(_program(identifier))
        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    except OSError:
        sock.close()
        raise
    return sock


def _program(identifier: int) -> list[tuple[str, int, int, str, str]]:
    """Return the filter: (label, code, operand, label if true, label if false).

    It takes what is addressed to this host: ARP replies, neighbour advertisements, ICMP errors,
    and replies to echoes of ours.
    """
    return [
        ("", _LOAD_WORD, _PACKET_TYPE, "", ""),
        ("", _EQUAL, 0, "", "drop"),  # PACKET_HOST
        ("", _LOAD_WORD, _PROTOCOL, "", ""),
        ("", _EQUAL, _ARP, "arp", ""),
        ("", _EQUAL, _IPV6, "v6", ""),
        ("", _EQUAL, _IPV4, "", "drop"),
        ("", _LOAD_BYTE, 9, "", ""),
        ("", _EQUAL, ICMP, "", "drop"),
        ("", _LOAD_X_LENGTH, 0, "", ""),
        ("", _LOAD_BYTE_X, 0, "", ""),
        ("", _EQUAL, Icmp.UNREACHABLE, "take", ""),
        ("", _EQUAL, Icmp.TIME_EXCEEDED, "take", ""),
        ("", _EQUAL, Icmp.ECHO_REPLY, "", "drop"),
        ("", _LOAD_HALF_X, 4, "", ""),
        ("", _EQUAL, identifier, "take", "drop"),
        ("arp", _LOAD_HALF, 6, "", ""),
        ("", _EQUAL, 2, "take", "drop"),
        ("v6", _LOAD_BYTE, 6, "", ""),
        ("", _EQUAL, ICMPV6, "", "drop"),
        ("", _LOAD_BYTE, 40, "", ""),
        ("", _EQUAL, 136, "take", ""),
        ("", _EQUAL, 129, "", "error"),
        ("", _LOAD_HALF, 44, "", ""),
        ("", _EQUAL, identifier, "take", "drop"),
        ("error", _LESS_NOT, 5, "drop", "take"),
        ("take", _RETURN, _RECEIVE, "", ""),
        ("drop", _RETURN, 0, "", ""),
    ]


def _assembled(program: list[tuple[str, int, int, str, str]]) -> bytes:
    """Return the instructions (struct sock_filter) with labels turned into distances."""
    at = {label: index for index, (label, *_) in enumerate(program) if label}

    def distance(index: int, label: str) -> int:
        return at[label] - index - 1 if label else 0

    fields = chain.from_iterable(
        (code, distance(index, true), distance(index, false), operand)
        for index, (_, code, operand, true, false) in enumerate(program)
    )
    return struct.pack("=" + "HBBI" * len(program), *fields)
