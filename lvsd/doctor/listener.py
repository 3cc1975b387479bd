"""A packet socket on which the answers to the doctor's questions arrive, and little else.

A filter in the kernel lets through answers only, so that a busy director's traffic costs nothing.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from itertools import chain
from typing import Final

from lvsd.packet import neighbour
from lvsd.packet.numbers import ICMP, ICMPV6, TCP, Icmp

RECEIVE: Final = 1 << 16
"""Bytes of a packet that are read."""

_ALL: Final = 0x0003  # ETH_P_ALL
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, neighbour.ARP_TYPE
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 4 << 20

# Classic BPF (linux/bpf_common.h). A cooked socket's filter begins at the network header.
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_X, _LOAD_BYTE_X, _LOAD_X_LENGTH = 0x48, 0x50, 0xB1
_EQUAL, _LESS_NOT, _RETURN = 0x15, 0x35, 0x06
_PACKET_TYPE, _PROTOCOL = 0xFFFFF004, 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PKTTYPE, _PROTOCOL


def listener(identifier: int, port: int) -> socket.socket:
    """Return a packet socket that receives answers from all interfaces. Raise OSError.

    They are to echoes with this identifier and to SYNs from this port of TCP. What came before it
    had its filter is read, too, and answers nothing.
    """
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL))
    try:
        code = _assembled(_program(identifier, port))
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


def _program(identifier: int, port: int) -> list[tuple[str, int, int, str, str]]:
    """Return the filter: (label, code, operand, label if true, label if false).

    It takes what is addressed to this host: ARP replies, neighbour advertisements, ICMP errors,
    replies to our echoes, and what comes to our port of TCP.
    """
    return [
        ("", _LOAD_WORD, _PACKET_TYPE, "", ""),
        ("", _EQUAL, 0, "", "drop"),  # PACKET_HOST
        ("", _LOAD_WORD, _PROTOCOL, "", ""),
        ("", _EQUAL, _ARP, "arp", ""),
        ("", _EQUAL, _IPV6, "v6", ""),
        ("", _EQUAL, _IPV4, "", "drop"),
        ("", _LOAD_BYTE, 9, "", ""),
        ("", _EQUAL, TCP, "tcp", ""),
        ("", _EQUAL, ICMP, "", "drop"),
        ("", _LOAD_X_LENGTH, 0, "", ""),
        ("", _LOAD_BYTE_X, 0, "", ""),
        ("", _EQUAL, Icmp.UNREACHABLE, "take", ""),
        ("", _EQUAL, Icmp.TIME_EXCEEDED, "take", ""),
        ("", _EQUAL, Icmp.ECHO_REPLY, "", "drop"),
        ("", _LOAD_HALF_X, 4, "", ""),
        ("", _EQUAL, identifier, "take", "drop"),
        ("tcp", _LOAD_X_LENGTH, 0, "", ""),
        ("", _LOAD_HALF_X, 2, "", ""),
        ("", _EQUAL, port, "take", "drop"),
        ("arp", _LOAD_HALF, 6, "", ""),
        ("", _EQUAL, 2, "take", "drop"),
        ("v6", _LOAD_BYTE, 6, "", ""),
        ("", _EQUAL, TCP, "tcp6", ""),
        ("", _EQUAL, ICMPV6, "", "drop"),
        ("", _LOAD_BYTE, 40, "", ""),
        ("", _EQUAL, 136, "take", ""),
        ("", _EQUAL, 129, "", "error"),
        ("", _LOAD_HALF, 44, "", ""),
        ("", _EQUAL, identifier, "take", "drop"),
        ("tcp6", _LOAD_HALF, 42, "", ""),
        ("", _EQUAL, port, "take", "drop"),
        ("error", _LESS_NOT, 5, "drop", "take"),
        ("take", _RETURN, RECEIVE, "", ""),
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
