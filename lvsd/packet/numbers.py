"""The numbers that protocols are written in, each with the document that assigns it."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58
SCTP: Final = 132

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
AUTHENTICATION: Final = 51
DESTINATION_OPTIONS: Final = 60

PROTOCOL_NAMES: Final = {
    ICMP: "ICMP",
    TCP: "TCP",
    UDP: "UDP",
    ICMPV6: "ICMPv6",
    SCTP: "SCTP",
    41: "IPv6",
    47: "GRE",
    50: "ESP",
    AUTHENTICATION: "AH",
    59: "no next header",
}
"""What people call a protocol number (IANA, Assigned Internet Protocol Numbers)."""


ETHERTYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}
"""What a frame says that it holds, by the packet's IP version (RFC 894, RFC 2464)."""


class TcpFlag(IntFlag):
    """The flag byte of a TCP header (RFC 9293, section 3.1)."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80


class Icmp(IntEnum):
    """ICMP types (RFC 792, RFC 1122 section 3.2.2)."""

    ECHO_REPLY = 0
    UNREACHABLE = 3
    SOURCE_QUENCH = 4
    REDIRECT = 5
    ECHO = 8
    TIME_EXCEEDED = 11
    PARAMETER_PROBLEM = 12


class Icmp6(IntEnum):
    """ICMPv6 types; those below 128 are errors (RFC 4443, section 2.1)."""

    UNREACHABLE = 1
    TOO_BIG = 2
    TIME_EXCEEDED = 3
    PARAMETER_PROBLEM = 4
    ECHO = 128
    ECHO_REPLY = 129
    REDIRECT = 137


class Chunk(IntEnum):
    """SCTP chunk types (RFC 9260, section 3.2)."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    ECNE = 12
    CWR = 13
    SHUTDOWN_COMPLETE = 14
