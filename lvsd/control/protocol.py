"""What goes over the control socket: one JSON value per line, UTF-8, ended by a newline.

A client sends requests, the daemon answers each in turn::

    -> {"method": "timeouts"}
    <- {"result": {"tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}}
    -> {"method": "zero", "params": {"service": {"fwmark": 9}}}
    <- {"error": {"code": "refused", "message": "No such service"}}

A list of any length comes as several lines; all but the last say that there is more::

    -> {"method": "connections"}
    <- {"result": [...], "more": true}
    <- {"result": [...]}

Addresses are text, ports and marks numbers, units stand in the names. A service is selected by
protocol, address and port, or by fwmark and family.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Final, Literal, NotRequired, TypedDict

MAX_REQUEST = 64 * 1024
"""The length in bytes of a request by those who may only ask; an answer has no such bound."""

MAX_CHANGE = 64 * 1024 * 1024
"""The length of a request by those who may change things: 100,000 servers and more in one list."""

PROTOCOL_NAMES = {0: "ip", 6: "tcp", 17: "udp", 132: "sctp"}
"""IP protocol numbers as this protocol spells them; 0 is a fwmark service's."""

LISTENING, NOTHING, LOST, UPGRADING = "listening", "nothing", "lost", "upgrading"
"""What else ``subscribe`` tells, as a ``change``: that it has begun, that nothing has changed for a
while, that somebody was too slow for so many events, and that lvsd is about to hang up, as it goes
on with other code."""


class Code(StrEnum):
    """Why a request was not carried out."""

    BAD_REQUEST = "bad_request"
    """Not a line of JSON with a method in it, or too long a one."""

    UNKNOWN_METHOD = "unknown_method"
    BAD_PARAMS = "bad_params"

    FORBIDDEN = "forbidden"
    """Only root and the group lvsd may do that."""

    REFUSED = "refused"
    """Understood, and impossible: the message is IPVS's, such as No such service."""

    BUSY = "busy"
    """Too many clients; try again."""

    INTERNAL = "internal"
    """A fault of the daemon; its log has the traceback."""


class ErrorEntry(TypedDict):
    """The error of an answer."""

    code: str
    message: str


class Answer(TypedDict, total=False):
    """One line from the daemon: a result or an error."""

    result: Any
    more: bool
    error: ErrorEntry


class ServiceSelector(TypedDict):
    """Names one service: protocol, address and port, or fwmark and family (4 if not given)."""

    protocol: NotRequired[str]
    address: NotRequired[str]
    port: NotRequired[int]
    fwmark: NotRequired[int]
    family: NotRequired[int]


class CounterEntry(TypedDict):
    """Counters since the last zero, or rates per second; in is from the client."""

    connections: int
    in_packets: int
    out_packets: int
    in_bytes: int
    out_bytes: int


class EvidenceEntry(TypedDict):
    """Whether a real server answers, as far as the director has seen lately.

    ``heard_ago_s`` is how long ago a packet of its came through here (None: never). ``waiting``
    connections began since; for ``waiting_s`` there have been any, and the last one was seen
    ``tried_ago_s`` ago (0 and 0: there are none). ``refused`` connections in a row it refused, the
    last one ``refused_ago_s`` ago, at ``refused_port``. ``repeated`` are SYNs that clients sent
    again, where replies do not come through here, since a connection was last seen to open.
    """

    heard_ago_s: int | None
    waiting: int
    waiting_s: int
    tried_ago_s: int
    refused: int
    refused_port: int
    refused_ago_s: int
    repeated: int


class DrainEntry(TypedDict):
    """That a real server is drained.

    ``left_s`` is how long its connections have (None: no deadline). ``empty``: there are none.
    ``cut`` of them ended at the deadline.
    """

    left_s: int | None
    empty: bool
    cut: int


class SlowStartEntry(TypedDict):
    """That a real server has ``percent`` of its weight as yet, and ``left_s`` seconds to go."""

    percent: int
    left_s: int


class ServerEntry(TypedDict):
    """A real server of a listing.

    ``forward`` is the way it is configured, ``label`` what ipvsadm prints under Forward of the
    way that is taken (Local where the server is the director). ``tunnel`` is empty but for tun;
    ``tunnel_port`` is 0 but for GUE, ``client_address`` empty and ``toa_kind`` 0 but for fullnat.
    ``weight`` is the configured one; ``effective_weight`` is what it has of that now. ``health`` is
    what health checks make of it (`lvsd.core.values.Health`), up where there are none. ``drain``
    and ``slow_start`` are None where there is no such thing.
    """

    address: str
    port: int
    forward: str
    label: str
    tunnel: str
    tunnel_port: int
    tunnel_checksum: bool
    client_address: str
    toa_kind: int
    weight: int
    effective_weight: float
    health: Literal["up", "standby", "quiesced", "removed"]
    drain: DrainEntry | None
    slow_start: SlowStartEntry | None
    upper: int
    lower: int
    active: int
    inactive: int
    templates: int
    evidence: EvidenceEntry
    stats: CounterEntry
    rates: CounterEntry


class ServiceEntry(TypedDict):
    """A virtual service of a listing, its real servers newest first.

    A fwmark service has protocol ip, an empty address and a fwmark that is not 0. ``prefix``
    is None where persistence looks at the whole address. ``local_addresses`` are FULLNAT's,
    ``local_ports`` the lowest and the highest that these give. ``max_connections`` 0 means no
    bound, a timeout of 0 the one of all services.
    """

    name: str
    protocol: str
    address: str
    port: int
    fwmark: int
    family: Literal[4, 6]
    scheduler: str
    flags: list[str]
    persistence_s: int
    prefix: int | None
    one_packet: bool
    slow_start_s: int
    mss_clamp: bool
    max_connections: int
    local_addresses: list[str]
    local_ports: list[int]
    tcp_timeout_s: int
    udp_timeout_s: int
    udp_answered_timeout_s: int
    stats: CounterEntry
    rates: CounterEntry
    servers: list[ServerEntry]


class ConnectionEntry(TypedDict):
    """A connection, or a template of persistence (state NONE or ASSURED, client port 0).

    ``local`` is the director's own end towards the server with FULLNAT; empty, its port 0,
    otherwise.
    """

    protocol: str
    state: str
    expires_s: int
    client: str
    client_port: int
    virtual: str
    virtual_port: int
    server: str
    server_port: int
    local: str
    local_port: int
    fwmark: int
    template: bool


class TimeoutsEntry(TypedDict):
    """The timeouts that ``--set`` sets, in seconds."""

    tcp_s: int
    tcp_fin_s: int
    udp_s: int


class StatusEntry(TypedDict):
    """How the daemon is: counted packets by what became of them.

    ``groups`` holds what is counted around the director, such as ``queue`` and ``icmp``.
    """

    version: str
    uptime_s: int
    services: int
    counters: dict[str, int]
    drops: dict[str, int]
    groups: dict[str, dict[str, int | str]]


class CheckEntry(TypedDict):
    """A real server that is checked: ``service`` and ``server`` name it as a request does.

    ``check`` is the type. ``up`` is the judgement, for ``since_s`` seconds now; ``health`` is what
    follows, for all servers of the service together. ``said`` is what the last probe found, in
    words, ``good`` whether that was well (None: there was none yet, or it could not be made),
    ``took_ms`` how long it took. ``in_a_row`` results say the same; ``needed`` are needed to change
    the judgement. The next probe is in ``next_s`` seconds.
    """

    service: ServiceSelector
    name: str
    server: dict[str, str | int]
    check: str
    up: bool
    since_s: int
    health: str
    good: bool | None
    said: str
    took_ms: float
    in_a_row: int
    needed: int
    next_s: float


_compact = json.JSONEncoder(separators=(",", ":")).encode

_SHOWN: Final = 60
LONG: Final = 1 << 16
"""From so many bytes on a line is decoded by orjson, which takes longer to load than to do it."""


def encode(value: object) -> bytes:
    """Return a value as compact JSON, without a newline."""
    return _compact(value).encode()


def decode(line: bytes) -> Any:
    """Return the value of a line of any length. Raise ValueError."""
    return json.loads(line.decode()) if len(line) < LONG else decode_quickly(line)


def decode_once(line: bytes) -> Any:
    """Return the value of a line that is short, or long. Raise ValueError, also for a key twice.

    A long line is not looked through for keys: that takes longer than to decode it.
    """
    if len(line) >= LONG:
        return decode_quickly(line)
    return json.loads(line.decode(), object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {encode(twice).decode()[:_SHOWN]} stands there twice")
    return found


def decode_quickly(line: bytes) -> Any:
    """Return the value of a line that is long, or one of many. Raise ValueError."""
    import orjson  # noqa: PLC0415 - most answers are short

    return orjson.loads(line)


def encode_line(value: object) -> bytes:
    """Return a value as one line of the protocol."""
    return encode(value) + b"\n"


def encode_error(code: Code, message: str) -> bytes:
    """Return the line that refuses a request."""
    return encode_line({"error": {"code": code, "message": message}})
