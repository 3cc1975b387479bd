"""``type = "ping"``: the host answers an ICMP echo request (RFC 792; RFC 4443, 4.1).

That its kernel runs and can be reached is all that this says; it is for services of all ports, and
of protocols that no other check knows. ``port`` has no meaning.

Only the answer to this very request counts: from the server's address, with the number (id) and the
16 bytes that the request had by chance. An ICMP error about the request, such as host unreachable,
ends the wait. A raw socket is needed, so CAP_NET_RAW, or else a group in the sysctl
net.ipv4.ping_group_range.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from secrets import randbits, token_bytes
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.health.base import Check
from lvsd.health.checks.datagrams import Datagrams
from lvsd.packet.build import icmp_message, icmpv6_message
from lvsd.packet.layout import ICMP_HEADER

if TYPE_CHECKING:
    from lvsd.health.base import Target

_SO_ATTACH_FILTER: Final = 26
"""<asm-generic/socket.h>."""

# Classic BPF (<linux/bpf_common.h>): X becomes the length of an IPv4 header; A a byte or two, at a
# place in the packet, or so far behind X; a jump that skips so many if A is another; the end, with
# the bytes that are let in.
_LENGTH_OF_HEADER: Final = 0xB1
_BYTE, _TWO_BYTES = 0x10, 0x08
_AT, _BEHIND_X = 0x20, 0x40
_IF_EQUAL: Final = 0x15
_END: Final = 0x06


class _Family(NamedTuple):
    """``has_header``: whether a raw socket reads the IP header, too."""

    protocol: int
    request: int
    reply: int
    has_header: bool


FAMILIES: Final = {
    4: _Family(socket.IPPROTO_ICMP, request=8, reply=0, has_header=True),
    6: _Family(socket.IPPROTO_ICMPV6, request=128, reply=129, has_header=False),
}


class Ping(Check):
    """Sends one echo request."""

    name = "ping"
    needs_port = False

    async def probe(self, target: Target) -> str:
        """Return that it was answered. Raise UnhealthyError, OSError."""
        family = FAMILIES[target.family]
        try:
            datagrams = Datagrams(target._replace(port=0), socket.SOCK_RAW, family.protocol)
            is_raw = True
        except PermissionError:
            datagrams = Datagrams(target._replace(port=0), socket.SOCK_DGRAM, family.protocol)
            is_raw = False
        number, token = randbits(16), token_bytes(16)
        with datagrams:
            if is_raw:
                _listen_for(datagrams.socket, family, number)
            datagrams.send(_request(family, number, token))
            while True:
                data = await datagrams.receive()
                if is_raw and family.has_header and data:
                    data = data[4 * (data[0] & 0xF) :]
                if _is_answer(data, family, number if is_raw else None, token):
                    return "answered"


def _request(family: _Family, number: int, token: bytes) -> bytes:
    """Return an echo request; the kernel sums up ICMPv6, and whatever a ping socket sends."""
    make = icmp_message if family.has_header else icmpv6_message
    return make(family.request, 0, number << 16 | 1, token)


def _is_answer(data: bytes, family: _Family, number: int | None, token: bytes) -> bool:
    """Return whether this answers it; the number of a ping socket is the kernel's business."""
    if len(data) < ICMP_HEADER.size:
        return False
    kind, code, _, rest = ICMP_HEADER.unpack_from(data)
    is_ours = (kind, code, rest & 0xFFFF) == (family.reply, 0, 1) and number in {rest >> 16, None}
    return is_ours and data[ICMP_HEADER.size :] == token


def _listen_for(raw: socket.socket, family: _Family, number: int) -> None:
    """Let only replies of this number in: a raw socket hears all ICMP of its address."""
    place = _BEHIND_X if family.has_header else _AT
    program = [
        *([(_LENGTH_OF_HEADER, 0, 0, 0)] if family.has_header else []),
        (_BYTE | place, 0, 0, 0),
        (_IF_EQUAL, 0, 3, family.reply),
        (_TWO_BYTES | place, 0, 0, 4),
        (_IF_EQUAL, 0, 1, number),
        (_END, 0, 0, 0xFFFF),
        (_END, 0, 0, 0),
    ]
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    memory = ctypes.create_string_buffer(code, len(code))
    filled = struct.pack("HP", len(program), ctypes.addressof(memory))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filled)
