"""Verdicts on queued packets, several to one system call.

NetfilterQueue gives each verdict by a ``sendmsg`` of its own. A netlink datagram may hold many
messages, which the kernel takes in order; sending them together saves a system call, a socket
buffer and a look-up per packet: a quarter of the daemon's time per packet in the lab.

Layout, in host byte order but for what the attributes hold (linux/netfilter/nfnetlink_queue.h)::

    nlmsghdr 16 | nfgenmsg 4 | NFQA_VERDICT_HDR 4: verdict 4, packet id 4 | NFQA_PAYLOAD 4: data
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FLUSH_AT: Final = 32
"""Verdicts that wait for each other at most; 2 KiB of data count as one more."""

ID_AT: Final = slice(24, 28)
"""Where the id stands in a message from the queue: NFQA_PACKET_HDR is the first attribute."""

_NF_DROP, _NF_ACCEPT = 0, 1
_TYPE: Final = 3 << 8 | 1  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_VERDICT
_REQUEST: Final = 1  # NLM_F_REQUEST
_VERDICT_HDR, _PAYLOAD = 2, 10
_BARE: Final = struct.Struct("=I24s4s")  # length, what is always the same, packet id
_WITH_DATA: Final = struct.Struct("=I24s4sHH")  # the same and the head of NFQA_PAYLOAD
_LENGTH: Final = struct.Struct("=I")
_PADDING: Final = (b"", bytes(3), bytes(2), bytes(1))


class Verdicts:
    """Collects verdicts and hands them to ``send``, a netlink socket's method.

    ``failed`` counts verdicts that could not be sent.
    """

    def __init__(self, queue: int, send: Callable[[bytes], int]) -> None:
        self._send = send
        self._accept = _middle(queue, _NF_ACCEPT)
        self._drop = _middle(queue, _NF_DROP)
        self._parts: list[bytes] = []
        self._waiting = 0
        self.failed = 0

    def accept(self, packet_id: bytes) -> None:
        """Let a packet go on as it is."""
        self._bare(self._accept, packet_id)

    def drop(self, packet_id: bytes) -> None:
        """Drop a packet."""
        self._bare(self._drop, packet_id)

    def replace(self, packet_id: bytes, data: bytes) -> None:
        """Let a packet go on with other bytes."""
        size = len(data)
        padding = _PADDING[size & 3]
        length = _WITH_DATA.size + size + len(padding)
        head = _WITH_DATA.pack(length, self._accept, packet_id, 4 + size, _PAYLOAD)
        self._parts += (head, data, padding)
        self._waiting += 1 + (size >> 11)
        if self._waiting >= FLUSH_AT:
            self.flush()

    def _bare(self, middle: bytes, packet_id: bytes) -> None:
        self._parts.append(_BARE.pack(_BARE.size, middle, packet_id))
        self._waiting += 1
        if self._waiting >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Give the verdicts that have been waiting. Never raises."""
        if not self._waiting:
            return
        datagram = b"".join(self._parts)
        self._parts = []
        self._waiting = 0
        try:
            self._send(datagram)
        except OSError:
            self._send_singly(datagram)

    def _send_singly(self, datagram: bytes) -> None:
        """Try one message after the other, so that one that cannot be sent fails alone."""
        at = 0
        while at < len(datagram):
            (length,) = _LENGTH.unpack_from(datagram, at)
            try:
                self._send(datagram[at : at + length])
            except OSError:
                self.failed += 1
            at += length


def _middle(queue: int, verdict: int) -> bytes:
    """Return what stands between the length and the packet id."""
    return (
        struct.pack("=HHII", _TYPE, _REQUEST, 0, 0)
        + struct.pack("!BBH", 0, 0, queue)
        + struct.pack("=HH", 12, _VERDICT_HDR)
        + struct.pack("!I", verdict)
    )
