"""Talk to netfilter over netlink: messages, attributes, answers; one plain blocking socket.

The kernel answers a request before ``send`` returns, so nothing here waits, and it may be called
from within an event loop. For links, addresses, routes and neighbours there is `lvsd.net`.

Messages are in host byte order, netfilter's attributes in network byte order; see netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

NETLINK_NETFILTER: Final = 12

NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP_INTR: Final = 0x010
"""The list changed while it was told: parts of it may be missing, or there twice."""
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_DUMP: Final = 0x300

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3

NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF

SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_NO_ENOBUFS: Final = 5

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_ERRNO: Final = struct.Struct("=i")
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_RECEIVE: Final = 1 << 17
_BATCH_BUFFER: Final = 64 << 20
"""The longest batch in bytes. A limit only: no memory is taken before it is needed."""
_DUMP_TRIES: Final = 10
_PATIENCE: Final = struct.pack("@ll", 5, 0)  # struct timeval
"""An answer is there at once; one that was lost must not stop the daemon for good."""


class Message(NamedTuple):
    """One netlink message: its type, its flags and what follows the header."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that consists of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def string(kind: int, value: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def be16(kind: int, value: int) -> bytes:
    """Return an attribute that holds 16 bits in network byte order."""
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits in network byte order."""
    return attribute(kind, (value & 0xFFFFFFFF).to_bytes(4, "big"))


def attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """Return type -> value of the attributes from ``offset`` on; the last of a type wins."""
    found = {}
    while offset + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = body[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def encode(message: Message, sequence: int) -> bytes:
    """Return a message as it goes over the socket."""
    header = _HEADER.pack(16 + len(message.body), message.kind, message.flags, sequence, 0)
    return header + message.body


def messages(datagram: bytes) -> Iterator[tuple[int, Message]]:
    """Yield each message of a datagram, with its sequence number."""
    for sequence, _, message in _parsed(datagram):
        yield sequence, message


def notifications(datagram: bytes) -> Iterator[tuple[int, Message]]:
    """Yield each message of a datagram, with the netlink port of whoever brought it about."""
    for _, port, message in _parsed(datagram):
        yield port, message


def _parsed(datagram: bytes) -> Iterator[tuple[int, int, Message]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            break
        body = datagram[offset + _HEADER.size : offset + length]
        yield sequence, port, Message(kind, flags, body)
        offset += length + 3 & ~3


def open_socket(protocol: int, groups: int = 0) -> socket.socket:
    """Return a bound netlink socket, subscribed to ``groups`` (a bit mask). Raise OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def listen(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, readable: Callable[[], None]
) -> None:
    """Call ``readable`` whenever notifications have come, or were lost; until `remove_reader`.

    A socket that lost some has an error, and libuv looks at a socket with an error no more
    (uv__poll_io in poll.c). So it is told of the socket anew each time.
    """
    descriptor = sock.fileno()

    def turn() -> None:
        readable()
        if sock.fileno() == descriptor:  # it was not closed meanwhile
            loop.remove_reader(descriptor)
            loop.add_reader(descriptor, turn)

    loop.add_reader(descriptor, turn)


class Link:
    """A netlink conversation: requests, their answers, errors as OSError.

    With a ``descriptor`` it goes on by a socket that is open already, and becomes ours.
    """

    def __init__(self, protocol: int, descriptor: int | None = None) -> None:
        is_new = descriptor is None
        self._socket = open_socket(protocol) if is_new else socket.socket(fileno=descriptor)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        # A time of Python's own would cost a system call more for each answer.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._sequence = count(1)

    @property
    def port(self) -> int:
        """The socket's netlink port, which notifications of what it changed name."""
        port: int = self._socket.getsockname()[0]
        return port

    @property
    def descriptor(self) -> int:
        """The socket's, for the process that goes on with the conversation."""
        return self._socket.fileno()

    def widen(self) -> None:
        """Let a batch be as long as 64 MiB. Raise OSError without CAP_NET_ADMIN."""
        for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BATCH_BUFFER // 2)

    def close(self) -> None:
        """Close the socket. Harmless when done twice."""
        self._socket.close()

    def dump(self, message: Message) -> list[Message]:
        """Return every answer to a request for a list, as it stood at one time.

        A list that changed while the kernel told it is asked for again. Raise OSError when the
        kernel refuses, EINTR when the list never stands still.
        """
        for _ in range(_DUMP_TRIES):
            answers = self._dump(message)
            if answers is not None:
                return answers
        raise InterruptedError(errno.EINTR, "the list changes faster than it can be read")

    def _dump(self, message: Message) -> list[Message] | None:
        """Return the answers; None if they are of several states of the list."""
        wanted = self._send(message, NLM_F_DUMP)
        answers: list[Message] = []
        interrupted = False
        while True:
            for sequence, answer in self._receive():
                if sequence != wanted:
                    continue
                _raise_error(answer)
                # Whichever message the kernel marks, the last one included, it is about them all.
                interrupted |= bool(answer.flags & NLM_F_DUMP_INTR)
                if answer.kind == NLMSG_DONE:
                    return None if interrupted else answers
                answers.append(answer)

    def get(self, message: Message) -> Message:
        """Return the one answer to a question. Raise OSError when the kernel refuses."""
        return self._answer(self._send(message, 0))

    def do(self, message: Message) -> None:
        """Carry out one request. Raise OSError when the kernel refuses."""
        self._answer(self._send(message, NLM_F_ACK))

    def do_batch(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Carry out requests as one transaction. Raise OSError of the first that was refused.

        The kernel answers in order, once all is done or undone, what it refused and what asked
        for an acknowledgement: the last message alone, as thousands would overrun the socket. It
        answers the beginning only when it refuses everything, and then nothing else may follow.
        """
        parts = [(next(self._sequence), NLM_F_REQUEST, begin)]
        parts += [(next(self._sequence), NLM_F_REQUEST, each) for each in messages[:-1]]
        parts += [(next(self._sequence), NLM_F_REQUEST | NLM_F_ACK, messages[-1])]
        parts += [(next(self._sequence), NLM_F_REQUEST, end)]
        self._socket.send(
            b"".join(
                encode(each._replace(flags=each.flags | flags), sequence)
                for sequence, flags, each in parts
            )
        )
        first, last = parts[0][0], parts[-2][0]
        while True:
            for sequence, answer in self._receive():
                if first <= sequence <= last:
                    _raise_error(answer)
                    if sequence == last:
                        return

    def _send(self, message: Message, flags: int) -> int:
        sequence = next(self._sequence)
        flags |= message.flags | NLM_F_REQUEST
        self._socket.send(encode(message._replace(flags=flags), sequence))
        return sequence

    def _answer(self, wanted: int) -> Message:
        while True:
            for sequence, answer in self._receive():
                if sequence == wanted:
                    _raise_error(answer)
                    return answer

    def _receive(self) -> Iterator[tuple[int, Message]]:
        try:
            return messages(self._socket.recv(_RECEIVE))
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel gives no answer") from None


@contextmanager
def linked(protocol: int) -> Iterator[Link]:
    """Open a conversation for the time of a ``with`` block."""
    link = Link(protocol)
    try:
        yield link
    finally:
        link.close()


def _raise_error(answer: Message) -> None:
    """Raise the OSError that an answer stands for, if it stands for one."""
    if answer.kind != NLMSG_ERROR:
        return
    (negative,) = _ERRNO.unpack_from(answer.body)
    if negative:
        raise OSError(-negative, os.strerror(-negative))
