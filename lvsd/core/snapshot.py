"""The state of a director as bytes, for the next one to resume from.

It is an array of slots of `SLOT` bytes with one record each, in any order. A record's first byte is
its kind. That byte is written last, and cleared before the record changes, so a record that was
half written when the writer was killed does not count.

===========  ====================================================================================
connection   its keys, its state, its server's record, what its translation has learned
template     its key, its server's record
server       its service, its address and port, its counters
service      its key, its counters, the position of its scheduler
numbers      the last sequence number between a local and a real address (FULLNAT)
drain        the drained server's record, the deadline, how many connections it has cut
ramp         the record of a server that starts slowly, when that began
===========  ====================================================================================

Records refer to each other by the offset of a slot. Counters and scheduler positions change all the
time. Each has a mark that is cleared while it is written, so a half-written counter is lost alone,
and not the server's connections with it.

Pure: the functions work on any buffer. Any bytes at all read as a record or as None.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from lvsd.core.stats import Totals
from lvsd.core.values import ServiceKey
from lvsd.packet.view import SCTP, TCP, UDP

if TYPE_CHECKING:
    from mmap import mmap

    from lvsd.core.connection import Connection
    from lvsd.core.template import TemplateKey
    from lvsd.packet.translation import Memory

SLOT: Final = 128
"""The bytes of a slot."""

FORMAT: Final = 2
"""Increased whenever the layout of a record changes; records of an unknown kind are dropped."""

MOST_POSITIONS: Final = 3
"""The most numbers that a scheduler's position may have."""

Buffer: TypeAlias = "bytearray | mmap"
"""What records are written to and read from."""


class Kind(IntEnum):
    """The kinds of records, and a free slot."""

    FREE = 0
    CONNECTION = 1
    TEMPLATE = 2
    SERVER = 3
    SERVICE = 4
    NUMBERS = 5
    DRAIN = 6
    RAMP = 7


class KeptConnection(NamedTuple):
    """A connection. ``server`` is the offset of its server's record.

    ``memory`` is what its translation has learned, None if it has none or has learned nothing yet.
    """

    key: bytes
    reply_key: bytes
    state: int
    server: int
    is_translated: bool = False
    has_template: bool = False
    memory: Memory | None = None


class KeptTemplate(NamedTuple):
    """A persistence template."""

    key: TemplateKey
    server: int
    assured: bool = False


class KeptServer(NamedTuple):
    """A real server. ``counted`` and ``zero`` are its counters and their zero point, if whole."""

    service: ServiceKey
    address: bytes
    port: int
    counted: Totals | None = None
    zero: Totals = Totals()


class Position(NamedTuple):
    """A scheduler's position. It applies only to servers that have this ``digest``."""

    digest: int
    numbers: tuple[int, ...]


class KeptService(NamedTuple):
    """A service, with counters as in `KeptServer`."""

    key: ServiceKey
    counted: Totals | None = None
    zero: Totals = Totals()
    position: Position | None = None


class KeptNumbers(NamedTuple):
    """The last sequence number of a pair: two packed addresses, the real one and the local one."""

    pair: bytes
    last: int


# By where they stand in a slot; its first byte is the kind.
_CONNECTION: Final = Struct("<BB5xI37s37s2xH")  # at 1: state, flags, server, keys, memory
_STATE_AT: Final = 1
_MEMORY: Final = Struct("<HIIIIIHH")
_MEMORY_AT: Final = 88
_TEMPLATE: Final = Struct("<BBBHI16s16s")  # at 1: flags, protocol, length of VIP, vport, server
_SERVICE: Final = Struct("<BBHI16s")  # at 2: family, protocol, vport, mark, VIP
_SERVICE_AT: Final = 2
_SERVER: Final = Struct("<HB16s")  # port, length of the address, the address
_SERVER_AT: Final = 26
_POSITION: Final = Struct("<B4I")  # how many numbers, digest, numbers
_POSITION_MARK_AT, _POSITION_AT = 26, 27
_COUNTED: Final = Struct("<10Q")
_COUNTED_MARK_AT, _COUNTED_AT = 1, 46
_NUMBERS: Final = Struct("<BI32s")  # at 1: length, last, both addresses


V6, TRANSLATED, HAS_TEMPLATE, BYPASSES = 1, 2, 4, 8
"""Flags of a connection."""

_ASSURED: Final = 2
KEY_BYTES: Final = 13, 37
"""The length of a key of IPv4 and of IPv6."""

V6_KEY: Final = KEY_BYTES[1]
_IS_CONNECTION: Final = int(Kind.CONNECTION)
_write_connection, _write_memory = _CONNECTION.pack_into, _MEMORY.pack_into
_PROTOCOLS: Final = frozenset({TCP, UDP, SCTP})
_WHOLE_64: Final = (1 << 64) - 1

# What is in a translation's memory: TCP's begins with a SYN, which is not kept.
_TCP, _BEHIND_HEADER, _UDP = 1, 2, 4
_SPOKE, _TELLING, _LED, _YOUNG = 8, 16, 32, 64
_SYNACK, _CLIENT_ACKED, _SERVER_ACKED = 128, 256, 512
_TCP_LENGTH, _BEHIND_LENGTH = 8, 12


def kind_at(buffer: Buffer, at: int) -> int:
    """Return the kind of the slot at an offset: one of `Kind`, or any other number."""
    return buffer[at]


def clear(buffer: Buffer, at: int) -> None:
    """Make a slot free."""
    buffer[at] = 0


# --- connections ------------------------------------------------------------------------------


def write_connection(buffer: Buffer, at: int, connection: Connection, server: int) -> None:
    """Write a connection into a free slot, without what its translation has learned."""
    key, reply_key = connection.key, connection.reply_key
    flags = V6 if len(key) == V6_KEY else 0
    if reply_key is key:
        flags |= BYPASSES
    if connection.local is not None:
        flags |= TRANSLATED
    if connection.template is not None:
        flags |= HAS_TEMPLATE
    _write_connection(buffer, at + 1, connection.state, flags, server, key, reply_key, 0)
    buffer[at] = _IS_CONNECTION


def write_state(buffer: Buffer, at: int, state: int) -> None:
    """Write the new state of a connection into its slot."""
    buffer[at + _STATE_AT] = state


def write_memory(buffer: Buffer, at: int, memory: Memory) -> None:
    """Write what a translation has learned into the connection's slot, if it is of a known kind."""
    buffer[at] = 0
    _write_memory(buffer, at + _MEMORY_AT, *_packed(memory))
    buffer[at] = _IS_CONNECTION


def read_connection(buffer: Buffer, at: int) -> KeptConnection | None:
    """Return the connection in a slot, None if the values make no sense."""
    state, flags, server, key, reply_key, _ = _CONNECTION.unpack_from(buffer, at + 1)
    length = KEY_BYTES[flags & V6]
    key, reply_key = key[:length], reply_key[:length]
    if flags & BYPASSES:
        reply_key = key
    if key[0] not in _PROTOCOLS or reply_key[0] != key[0]:
        return None
    memory = _unpacked(_MEMORY.unpack_from(buffer, at + _MEMORY_AT))
    is_translated, has_template = bool(flags & TRANSLATED), bool(flags & HAS_TEMPLATE)
    return KeptConnection(key, reply_key, state, server, is_translated, has_template, memory)


def _packed(memory: Memory) -> tuple[int, ...]:
    """Return the values for `_MEMORY`; all 0 for a memory of an unknown kind."""
    length = len(memory)
    ahead = header = 0
    if length == 1:
        return _UDP, int(memory[0] or 0), 0, 0, 0, 0, 0, 0
    if length == _TCP_LENGTH:
        bits = _TCP
    elif length == _BEHIND_LENGTH:
        ahead, header, led, young = map(int, memory[_TCP_LENGTH:])  # type: ignore[arg-type]
        bits = _TCP | _BEHIND_HEADER | (led and _LED) | (young and _YOUNG)
    else:
        return 0, 0, 0, 0, 0, 0, 0, 0
    _, isn, shift, spoke, synack, client_acked, server_acked, telling = memory[:_TCP_LENGTH]
    if spoke:
        bits |= _SPOKE
    if telling:
        bits |= _TELLING
    if synack is not None:
        bits |= _SYNACK
    if client_acked is not None:
        bits |= _CLIENT_ACKED
    if server_acked is not None:
        bits |= _SERVER_ACKED
    numbers = (isn, shift, synack or 0, client_acked or 0, server_acked or 0, ahead, header)
    return bits, *numbers  # type: ignore[return-value]  # they are numbers


def _unpacked(found: tuple[int, ...]) -> Memory | None:
    bits, isn, shift, synack, client_acked, server_acked, ahead, header = found
    if bits & _UDP:
        return (isn,)
    if not bits & _TCP:
        return None
    memory: Memory = (
        b"",
        isn,
        shift,
        bool(bits & _SPOKE),
        synack if bits & _SYNACK else None,
        client_acked if bits & _CLIENT_ACKED else None,
        server_acked if bits & _SERVER_ACKED else None,
        bool(bits & _TELLING),
    )
    if bits & _BEHIND_HEADER:
        return *memory, ahead, header, bool(bits & _LED), bool(bits & _YOUNG)
    return memory


# --- templates ----------------------------------------------------------------------------------


def write_template(buffer: Buffer, at: int, template: KeptTemplate) -> None:
    """Write a template into a free slot."""
    (protocol, network, vip, vport), server, assured = template
    flags = (V6 if len(network) != 4 else 0) | (_ASSURED if assured else 0)
    _TEMPLATE.pack_into(buffer, at + 1, flags, protocol, len(vip), vport, server, network, vip)
    buffer[at] = Kind.TEMPLATE


def assure_template(buffer: Buffer, at: int) -> None:
    """Note in a template's slot that one of its connections was established."""
    buffer[at + 1] |= _ASSURED


def read_template(buffer: Buffer, at: int) -> KeptTemplate | None:
    """Return the template in a slot, None if the values make no sense."""
    flags, protocol, length, vport, server, network, vip = _TEMPLATE.unpack_from(buffer, at + 1)
    if length not in {4, 16}:
        return None
    network = network[: 16 if flags & V6 else 4]
    return KeptTemplate((protocol, network, vip[:length], vport), server, bool(flags & _ASSURED))


# --- services and servers -------------------------------------------------------------------------


def write_service(buffer: Buffer, at: int, key: ServiceKey) -> None:
    """Write a service into a free slot, without counters."""
    _write_key(buffer, at, key)
    buffer[at + _POSITION_MARK_AT] = 0
    buffer[at] = Kind.SERVICE


def write_server(buffer: Buffer, at: int, key: ServiceKey, address: bytes, port: int) -> None:
    """Write a service's real server into a free slot, without counters."""
    _write_key(buffer, at, key)
    _SERVER.pack_into(buffer, at + _SERVER_AT, port, len(address), address)
    buffer[at] = Kind.SERVER


def write_counted(buffer: Buffer, at: int, counted: Totals, zero: Totals) -> None:
    """Write the counters of a service or server, and their zero point, into its slot."""
    buffer[at + _COUNTED_MARK_AT] = 0
    values = (each & _WHOLE_64 for each in (*counted, *zero))
    _COUNTED.pack_into(buffer, at + _COUNTED_AT, *values)
    buffer[at + _COUNTED_MARK_AT] = 1


def write_position(buffer: Buffer, at: int, position: Position | None) -> None:
    """Write the position of a service's scheduler into its slot; None: it has none."""
    buffer[at + _POSITION_MARK_AT] = 0
    if position is None:
        return
    digest, numbers = position
    count = len(numbers)
    if count <= MOST_POSITIONS:
        padded = (*numbers, *(0,) * (MOST_POSITIONS - count))
        _POSITION.pack_into(buffer, at + _POSITION_AT, count, digest, *padded)
        buffer[at + _POSITION_MARK_AT] = 1


def read_service(buffer: Buffer, at: int) -> KeptService | None:
    """Return the service in a slot, None if the values make no sense."""
    key = _read_key(buffer, at)
    if key is None:
        return None
    position = None
    if buffer[at + _POSITION_MARK_AT] == 1:
        count, digest, *numbers = _POSITION.unpack_from(buffer, at + _POSITION_AT)
        if count <= MOST_POSITIONS:
            position = Position(digest, tuple(numbers[:count]))
    return KeptService(key, *_read_counted(buffer, at), position)


def read_server(buffer: Buffer, at: int) -> KeptServer | None:
    """Return the real server in a slot, None if the values make no sense."""
    key = _read_key(buffer, at)
    port, length, address = _SERVER.unpack_from(buffer, at + _SERVER_AT)
    if key is None or length not in {4, 16}:
        return None
    return KeptServer(key, address[:length], port, *_read_counted(buffer, at))


def _write_key(buffer: Buffer, at: int, key: ServiceKey) -> None:
    buffer[at + _COUNTED_MARK_AT] = 0
    protocol, vip, vport, fwmark, family = key
    _SERVICE.pack_into(buffer, at + _SERVICE_AT, family, protocol, vport, fwmark, vip)


def _read_key(buffer: Buffer, at: int) -> ServiceKey | None:
    family, protocol, vport, fwmark, vip = _SERVICE.unpack_from(buffer, at + _SERVICE_AT)
    if family not in {4, 6}:
        return None
    if fwmark:
        return ServiceKey(fwmark=fwmark, family=family)
    return ServiceKey(protocol, vip[: 4 if family == 4 else 16], vport, 0, family)


def _read_counted(buffer: Buffer, at: int) -> tuple[Totals | None, Totals]:
    if buffer[at + _COUNTED_MARK_AT] != 1:
        return None, Totals()
    found = _COUNTED.unpack_from(buffer, at + _COUNTED_AT)
    return Totals(*found[:5]), Totals(*found[5:])


# --- sequence numbers -----------------------------------------------------------------------------


def write_numbers(buffer: Buffer, at: int, numbers: KeptNumbers) -> None:
    """Write a pair's last number into a slot that is free or already has this pair."""
    buffer[at] = 0
    _NUMBERS.pack_into(buffer, at + 1, len(numbers.pair), numbers.last, numbers.pair)
    buffer[at] = Kind.NUMBERS


def read_numbers(buffer: Buffer, at: int) -> KeptNumbers | None:
    """Return the numbers in a slot, None if the values make no sense."""
    length, last, pair = _NUMBERS.unpack_from(buffer, at + 1)
    return KeptNumbers(pair[:length], last) if length in {8, 32} else None
