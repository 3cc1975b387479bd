"""Read packets from an NFQUEUE on the event loop; every packet gets a verdict.

The binding is NetfilterQueue (libnetfilter_queue). It calls ``recv`` on whatever object it is
given, and that is where its limits are lifted:

- it asks for 4016 bytes of a packet at most: our own configuration message asks for all;
- its own buffer has 4096 bytes: our ``recv`` returns messages as long as they are;
- it reads until the queue is empty: our ``recv`` says "empty" after ``turn`` packets, and the
  loop, level-triggered, comes back for the rest once timers and other sockets had theirs;
- it swallows ENOBUFS: our ``recv`` counts it on the way;
- it gives each verdict by a system call of its own: ours go together (`lvsd.io.verdicts`).

An exception in the handler drops the packet, is counted and reported, and the loop goes on.
Without the GSO flag the kernel cuts large segments before queueing and finishes checksums.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from netfilterqueue import COPY_NONE, COPY_PACKET, NetfilterQueue

from lvsd.core.verdict import Verdict
from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.netlink import (
    NETLINK_NETFILTER,
    NETLINK_NO_ENOBUFS,
    NLM_F_REQUEST,
    SOL_NETLINK,
    Message,
    attribute,
    encode,
    linked,
)
from lvsd.io.queue_statistics import program_of, queue_statistics
from lvsd.io.verdicts import ID_AT, Verdicts

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import TypeAlias

    from netfilterqueue import Packet

    Handler: TypeAlias = Callable[[bytes, int, int, int, float], bytes | Verdict]

COPY_RANGE: Final = 0xFFFF - 4
"""The longest packet that fits into a netlink attribute, in bytes (nfqnl_recv_config)."""

RECEIVE_BUFFER: Final = 32 << 20
"""Bytes of kernel memory that packets may wait in: 4096 of them with 1500 bytes, and to spare."""

_PASS: Final = Verdict.PASS
_DROP: Final = Verdict.DROP
_TAKEN: Final = Verdict.TAKEN

_MESSAGE: Final = COPY_RANGE + 1024
"""Bytes of the longest message: a packet and the attributes beside it."""

_CONFIG: Final = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
_CFG_CMD: Final = 1  # NFQA_CFG_CMD: command u8, padding u8, family be16
_PF_BIND: Final = b"\x03\0\0\0"
_CFG_PARAMS: Final = 2  # NFQA_CFG_PARAMS: copy_range be32, copy_mode u8
_IPV6_HEADER: Final = 40


@dataclass(slots=True)
class SourceStats:
    """What happened to the packets of a queue, counted from when it was opened."""

    received: int = 0
    """Packets handed to us."""
    truncated: int = 0
    """Packets over 65,531 bytes, which no queue can hand over whole: dropped."""
    handler_errors: int = 0
    """Packets dropped since the handler raised an exception."""
    verdict_errors: int = 0
    """Verdicts that the kernel would not take: those packets wait until the queue is closed."""
    kernel_dropped: int = 0
    """Packets that the kernel dropped: too many waiting, or the receive buffer full."""
    waiting: int = 0
    """Packets without a verdict when the statistics were read."""


class QueueSource:
    """Packets of NFQUEUE number ``queue``, each handed to ``handler``.

    ``handler(data, hook, mark, indev, now)`` returns the packet's new bytes, or a `Verdict`;
    ``now`` is read from ``clock`` once per turn. ``turn`` bounds the packets of a turn, and
    ``queue_length`` those that wait in the kernel. ``after_turn`` is called after each turn,
    ``on_error`` with the last exception that the handler raised in a turn.
    """

    def __init__(
        self,
        queue: int,
        handler: Handler,
        *,
        clock: Callable[[], float],
        turn: int = 64,
        queue_length: int = 4096,
        receive_buffer: int = RECEIVE_BUFFER,
        after_turn: Callable[[], None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._clock = clock
        self._turn_length = turn
        self._queue_length = queue_length
        self._receive_buffer = receive_buffer
        self._after_turn = after_turn
        self._on_error = on_error
        self._stats = SourceStats()
        self._operation = f"take NFQUEUE {queue}"
        self._error: BaseException | None = None
        self._now = 0.0
        self._reader = _BoundedReader()
        self._verdicts: Verdicts
        self._binding: NetfilterQueue | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Take the queue. Raise KernelError when that cannot be, PrivilegeError without rights."""
        self._check_kernel()
        self._check_free()
        try:
            with warnings.catch_warnings(record=True):  # it tells the receive buffer's length
                binding = NetfilterQueue()
                binding.bind(
                    self._queue,
                    self._take,
                    max_len=self._queue_length,
                    mode=COPY_NONE,  # no packets yet: one would mix with acknowledgements
                    sock_len=self._receive_buffer,
                )
        except OSError as error:
            self._check_free()
            raise KernelError(self._operation, error, "see the kernel's log") from error
        sock = socket.socket(fileno=os.dup(binding.get_fd()))
        # Without this option one overrun makes the kernel drop *everything* until the socket is
        # empty (netlink_attachskb, NETLINK_S_CONGESTED). The loss is counted as user_dropped.
        sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._binding, self._socket = binding, sock
        self._reader.receive = sock.recv
        self._verdicts = Verdicts(self._queue, sock.send)
        self._copy(sock, COPY_PACKET)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read on ``loop`` from now on, at most ``turn`` packets at a time."""
        if self._socket is None:
            raise RuntimeError("open() comes before start()")
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self.turn)

    def turn(self) -> None:
        """Handle what is waiting, at most ``turn`` packets; never wait."""
        if self._binding is None:
            raise RuntimeError("open() comes before turn()")
        reader = self._reader
        reader.left = self._turn_length
        self._now = self._clock()
        self._binding.run_socket(reader)
        self._verdicts.flush()
        self._stats.received += self._turn_length - reader.left
        if self._error is not None:
            error, self._error = self._error, None
            if self._on_error is not None:
                self._on_error(error)
        if self._after_turn is not None:
            self._after_turn()

    def stop(self) -> None:
        """Leave the loop, after a verdict for what is waiting, at most ``queue_length`` packets.

        Stop diverting first, so that nothing comes after. Harmless when not started.
        """
        if self._loop is None or self._socket is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop = None
        for _ in range(self._queue_length // self._turn_length + 1):
            self.turn()
            if self._reader.left:
                break

    def close(self) -> None:
        """Give the queue back; the kernel drops what is still waiting. Harmless when not open."""
        self.stop()
        if self._binding is None or self._socket is None:
            return
        # unbind() waits for the kernel's acknowledgement, which is lost when the receive buffer
        # is full, and may then wait for ever: let no more packets in, and empty it.
        self._copy(self._socket, COPY_NONE)
        with suppress(BlockingIOError):
            while self._socket.recv(_MESSAGE, socket.MSG_DONTWAIT):
                pass
        self._socket.close()
        self._binding.unbind()
        self._binding = self._socket = None

    @property
    def received(self) -> int:
        """How many packets were handed to us up to now; the kernel is not asked."""
        return self._stats.received

    @property
    def stats(self) -> SourceStats:
        """The counters as of now; the kernel's own as of when it last told them."""
        with suppress(KernelError):
            self.ask_kernel()
        return self._stats

    def lost(self) -> int:
        """Return how many packets the kernel has dropped before we saw them. Raise KernelError."""
        self.ask_kernel()
        return self.stats.kernel_dropped

    def ask_kernel(self) -> None:
        """Bring the counters up to date, the kernel's included. Raise KernelError."""
        if self._binding is None:
            return
        self._stats.verdict_errors = self._verdicts.failed
        if kernel := queue_statistics(self._queue):
            self._stats.kernel_dropped = kernel.queue_dropped + kernel.user_dropped
            self._stats.waiting = kernel.waiting

    def _take(self, packet: Packet) -> None:
        """Give one packet its verdict. No exception may leave: the packet would wait for ever."""
        data = packet.get_payload()
        packet_id = self._reader.message[ID_AT]
        if len(data) >= COPY_RANGE and len(data) < total_length(data):
            self._stats.truncated += 1
            self._verdicts.drop(packet_id)
            return
        try:
            result = self._handler(data, packet.hook, packet.mark, packet.indev, self._now)
            if result is _PASS:
                self._verdicts.accept(packet_id)
            elif result is _DROP or result is _TAKEN:
                self._verdicts.drop(packet_id)
            else:
                if len(result) > COPY_RANGE:
                    raise ValueError(f"{len(result)} bytes do not fit into a verdict")  # noqa: TRY301 - the way out is the same
                self._verdicts.replace(packet_id, result)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the packet gets a verdict
            self._verdicts.drop(packet_id)
            self._stats.handler_errors += 1
            self._error = error

    def _copy(self, sock: socket.socket, mode: int) -> None:
        """Have the kernel hand over whole packets from now on, or none at all (it drops them)."""
        parameters = attribute(_CFG_PARAMS, struct.pack("!IB", COPY_RANGE, mode))
        sock.send(encode(_config(self._queue, parameters), 0))

    def _check_kernel(self) -> None:
        """Ask for something harmless that needs the same rights, since its errno is precise."""
        try:
            with linked(NETLINK_NETFILTER) as link:
                link.do(_config(0, attribute(_CFG_CMD, _PF_BIND)))
        except PermissionError as error:
            raise PrivilegeError(
                self._operation, error, "run lvsd as root or with CAP_NET_ADMIN"
            ) from error
        except OSError as error:
            raise KernelError(
                self._operation,
                error,
                "the kernel must have nfnetlink_queue: `modprobe nfnetlink_queue`",
            ) from error

    def _check_free(self) -> None:
        if holder := queue_statistics(self._queue):
            raise KernelError(
                self._operation,
                f"it is taken by netlink port {holder.port}{program_of(holder.port)}",
                "end that program, or give lvsd another queue number",
            )


class _BoundedReader:
    """What NetfilterQueue reads from: at most ``left`` messages, of any length."""

    __slots__ = ("left", "message", "receive")

    def __init__(self) -> None:
        self.receive: Callable[[int, int], bytes]
        self.left = 0
        self.message = b""

    def recv(self, _size: int) -> bytes:
        """Return one message. Raise BlockingIOError when the turn is over or nothing is there."""
        if not self.left:
            raise BlockingIOError(errno.EAGAIN, "the turn is over")
        message = self.receive(_MESSAGE, socket.MSG_DONTWAIT)
        self.left -= 1
        self.message = message
        return message


def total_length(data: bytes) -> int:
    """Return the length that an IP header claims for its packet, 0 for an IPv6 jumbogram."""
    if data[0] >> 4 == 4:
        return int.from_bytes(data[2:4], "big")
    payload = int.from_bytes(data[4:6], "big")
    return _IPV6_HEADER + payload if payload else 0


def _config(queue: int, attributes: bytes) -> Message:
    return Message(_CONFIG, NLM_F_REQUEST, struct.pack("!BBH", 0, 0, queue) + attributes)
