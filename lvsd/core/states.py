"""Connection states: what a packet does to a connection, per protocol and direction.

Each protocol is a literal table, read like the kernel's: a row per event, a column per present
state, the cell is the next state. The tables are compiled to bytes, so that a transition is one
look-up: ``next_state = protocol.next[direction][event << 4 | state]``.

Source: ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c (Linux 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

TCP, UDP, SCTP = 6, 17, 132


class Direction(IntEnum):
    """Where a packet comes from, as far as the state tables are concerned."""

    REQUEST = 0
    """From the client; the replies are seen too."""

    REPLY = 1
    """From the real server."""

    REQUEST_ONLY = 2
    """From the client; the replies bypass the director (DR, TUN)."""


@dataclass(slots=True, eq=False)
class Protocol:
    """States, transitions and timeouts of one transport protocol.

    ``states`` are the names that ``lvsadm -Lnc`` prints, ``timeouts`` seconds per state (the
    list may be changed while running), ``active`` says per state whether the connection counts
    as active, ``opening`` whether it is still being opened, so that a full table may give its
    entry away; ``next`` is per direction a table of 256 events * 16 states. ``established`` is the
    state of that name, None without one: a state's number means nothing in another protocol.
    ``answered`` is the state of a datagram's answer, None where that makes no difference.
    """

    number: int
    name: str
    states: tuple[str, ...]
    timeouts: list[float]
    active: bytes
    opening: bytes
    next: tuple[bytes, bytes, bytes]
    established: int | None = None
    answered: int | None = None


# --- TCP ------------------------------------------------------------------------------------

TCP_STATES = (
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
)
NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA = range(11)
TCP_ESTABLISHED, TCP_SYN_RECV, TCP_FIN_WAIT, TCP_TIME_WAIT, TCP_CLOSE = ES, SR, FW, TW, CL
TCP_CLOSE_WAIT, TCP_LAST_ACK = CW, LA
TCP_OPEN = frozenset({ES, FW, CW})
"""The states in which data may still come: not both sides have closed."""
_TCP_ACTIVE = {ES, SS, SR, SA}
_TCP_OPENING = {NO, SS, SR, SA}
_TCP_TIMEOUTS_S = (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120)

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# fmt: off
_TCP_ROWS = {
    Direction.REQUEST: (
        #      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        (SYN, (SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR)),
        (FIN, (CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW)),
        (ACK, (ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES)),
        (RST, (CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR)),
    ),
    Direction.REPLY: (
        #      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        (SYN, (SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR)),
        (FIN, (TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW)),
        (ACK, (ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES)),
        (RST, (CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL)),
    ),
    Direction.REQUEST_ONLY: (
        #      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        (SYN, (SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR)),
        (FIN, (CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW)),
        (ACK, (ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES)),
        (RST, (CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL)),
    ),
}
# fmt: on
_TCP_PRECEDENCE = (RST, SYN, FIN, ACK)


@cache
def _tcp_table(direction: Direction) -> bytes:
    rows = dict(_TCP_ROWS[direction])
    table = bytearray([CL]) * (256 * 16)
    for flags in range(256):
        row = next((rows[bit] for bit in _TCP_PRECEDENCE if flags & bit), None)
        if row is not None:
            table[flags << 4 : (flags << 4) + len(row)] = bytes(row)
    return bytes(table)


def tcp() -> Protocol:
    """Return TCP with the default timeouts; an event is the TCP flag byte."""
    return Protocol(
        number=TCP,
        name="TCP",
        states=TCP_STATES,
        timeouts=[float(seconds) for seconds in _TCP_TIMEOUTS_S],
        active=bytes(state in _TCP_ACTIVE for state in range(16)),
        opening=bytes(state in _TCP_OPENING for state in range(16)),
        next=tuple(map(_tcp_table, Direction)),  # type: ignore[arg-type]  # exactly three
        established=TCP_ESTABLISHED,
    )


_FULLNAT_TIMEOUTS_S = (2, 900, 3, 30, 120, 7, 3, 120, 7, 120, 30)


def fullnat_tcp() -> Protocol:
    """Return TCP as FULLNAT times it: what is over, or never opened, soon frees its port.

    What only one side has closed is not over: the other one may send for as long as it likes. So
    ESTABLISHED and FIN_WAIT are as for the other ways, CLOSE_WAIT is as FIN_WAIT, and a single FIN
    leads to one of these also where it came before the director saw the handshake's end. Source of
    the other timeouts: LVS's and DPVS's FULLNAT.
    """
    protocol = tcp()
    protocol.timeouts = [float(seconds) for seconds in _FULLNAT_TIMEOUTS_S]
    request, reply, only = map(bytearray, protocol.next)
    for flags in range(256):
        if flags & (FIN | SYN | RST) == FIN:
            request[flags << 4 | SR] = CW
            reply[flags << 4 | SR] = FW
    protocol.next = bytes(request), bytes(reply), bytes(only)
    return protocol


# --- UDP ------------------------------------------------------------------------------------

_UDP_TIMEOUT_S = 300.0


UDP_NEW, UDP_ONE_PACKET, UDP_SEEN = range(3)


def udp() -> Protocol:
    """Return UDP: one state to people, and never active.

    Within, a flow of one packet is told from one that was answered or went on: anybody can send
    one packet in somebody else's name.
    """
    request = bytes((UDP_ONE_PACKET, UDP_SEEN, UDP_SEEN, *bytes(13))) * 256
    reply = bytes((UDP_SEEN, UDP_SEEN, UDP_SEEN, *bytes(13))) * 256
    return Protocol(
        number=UDP,
        name="UDP",
        states=("UDP",) * 3,
        timeouts=[_UDP_TIMEOUT_S] * 3,
        active=bytes(16),
        opening=bytes(state in {UDP_NEW, UDP_ONE_PACKET} for state in range(16)),
        next=(request, reply, request),
    )


def answered_udp() -> Protocol:
    """Return UDP with one more state: the last packet was the server's."""
    protocol = udp()
    answered = len(protocol.states)
    request, _, only = map(bytearray, protocol.next)
    for event in range(256):
        request[event << 4 | answered] = answered - 1
    protocol.states += protocol.states[:1]
    protocol.timeouts.append(_UDP_TIMEOUT_S)
    protocol.next = bytes(request), bytes((answered,)) * (256 * 16), bytes(only)
    protocol.answered = answered
    return protocol


# --- AH and ESP -----------------------------------------------------------------------------


def ipsec(number: int, name: str) -> Protocol:
    """Return AH (51) or ESP (50), whose packets go the way of the connection on UDP port 500."""
    protocol = udp()
    protocol.number, protocol.name, protocol.states = number, name, (name,) * 3
    return protocol


# --- SCTP -----------------------------------------------------------------------------------

SCTP_STATES = (
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK-SENT",
    "REJECTED",
    "CLOSED",
)
SCTP_ESTABLISHED = SCTP_STATES.index("ESTABLISHED")
SCTP_CLOSED = SCTP_STATES.index("CLOSED")
_SCTP_TIMEOUTS_S = (2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61)

# Chunk types (RFC 9260 section 3.2).
SCTP_INIT, SCTP_ABORT = 1, 6
_DATA_LIKE = "d"
_CHUNK_ROW = {
    0: "d", 1: "i", 2: "ia", 3: "d", 4: "d", 5: "d", 6: "ab", 7: "s", 8: "sa", 9: "err",
    10: "ce", 11: "ca", 12: "d", 13: "d", 14: "sc",
}  # fmt: skip
"""The row that each chunk type uses; all others use the row of DATA."""

# Columns are the present states in the order of SCTP_STATES, cells the next state's index in hex:
# 0 NONE, 1 INIT1, 2 INIT, 3 C-SENT, 4 C-REPLIED, 5 C-WAIT, 6 COOKIE, 7 C-ECHOED, 8 ESTABLISHED,
# 9 S-SENT, a S-RECEIVED, b S-ACK-SENT, c REJECTED, d CLOSED.
_SCTP_ROWS = {
    Direction.REQUEST: {
        #      0123456789abcd
        "d":   "8123456789abcd",
        "i":   "1223456789ab22",
        "ia":  "5553466789abcd",
        "ce":  "4224456789abcd",
        "ca":  "8123456889abcd",
        "s":   "a1234567a9abcd",
        "sa":  "d22345678dadcd",
        "sc":  "ddd3456789adcd",
        "err": "d123456d89abcd",
        "ab":  "dddddcdddddddd",
    },
    Direction.REPLY: {
        #      0123456789abcd
        "d":   "8123456789abcd",
        "i":   "55555555855555",
        "ia":  "3333456789abcd",
        "ce":  "7777777789abcd",
        "ca":  "8888888889abcd",
        "s":   "9999999999abcd",
        "sa":  "bbbbb5678bbbcd",
        "sc":  "d123456789abcd",
        "err": "ddddd56789abcd",
        "ab":  "dcdddddddddddd",
    },
    Direction.REQUEST_ONLY: {
        #      0123456789abcd
        "d":   "8123486789abcd",
        "i":   "1222226789ab22",
        "ia":  "7777776789abcd",
        "ce":  "8888886789abcd",
        "ca":  "8128858889abcd",
        "s":   "a1234567a9abcd",
        "sa":  "d2234567ddadcd",
        "sc":  "ddddd56789ddcd",
        "err": "d123456789abcd",
        "ab":  "dddddcdddddddd",
    },
}  # fmt: skip


@cache
def _sctp_table(direction: Direction) -> bytes:
    table = bytearray(256 * 16)
    for chunk in range(256):
        row = _SCTP_ROWS[direction][_CHUNK_ROW.get(chunk, _DATA_LIKE)]
        table[chunk << 4 : (chunk << 4) + len(row)] = bytes(int(cell, 16) for cell in row)
    return bytes(table)


def sctp() -> Protocol:
    """Return SCTP; an event is the type of the chunk that decides."""
    return Protocol(
        number=SCTP,
        name="SCTP",
        states=SCTP_STATES,
        timeouts=[float(seconds) for seconds in _SCTP_TIMEOUTS_S],
        active=bytes(state == SCTP_ESTABLISHED for state in range(16)),
        opening=bytes(state < SCTP_ESTABLISHED for state in range(16)),
        next=tuple(map(_sctp_table, Direction)),  # type: ignore[arg-type]  # exactly three
        established=SCTP_ESTABLISHED,
    )
