"""What the director says of a packet, and why it dropped one."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class Verdict(Enum):
    """What becomes of a packet whose bytes stay as they are.

    A packet that was rewritten has no member here: the director returns its new bytes.
    """

    PASS = "pass"  # noqa: S105 - not a password
    """Not ours: let it go on through the host's own stack."""

    DROP = "drop"
    """Away with it; the reason was counted."""

    TAKEN = "taken"
    """Ours now: what becomes of it leaves as a `Departure`, or waits."""


class Departure(NamedTuple):
    """A packet that leaves by one of our sockets instead of the queue's verdict.

    ``data`` begins at the IP header. ``neighbour`` is the packed address of the host whose MAC
    the frame goes to (DR); None: the kernel routes by the packet's own destination, as for
    everything that the host itself sends. ``original`` is the packet as it came, by the interface
    of index ``indev``, for the case that ``data`` is too long for its way (`Director.too_long`).
    """

    data: bytes
    neighbour: bytes | None = None
    original: bytes = b""
    indev: int = 0


class Hook(IntEnum):
    """The netfilter hook that a packet was diverted from (linux/netfilter.h)."""

    PREROUTING = 0
    """Requests: before routing; the kernel routes and forwards what we return."""

    INPUT = 1
    """Replies to the director's own programs: after routing, the host keeps them."""

    FORWARD = 2
    """Replies: after routing; the kernel has decremented the TTL already."""

    OUTPUT = 3
    """Replies of a real server that is the director itself, and requests of its own programs."""


class Reason(Enum):
    """Why a packet was dropped, as the counters are named."""

    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    NO_CONNECTION = "no_connection"
    NO_SERVER = "no_server"
    SERVER_GONE = "server_gone"
    TABLE_FULL = "table_full"
    SERVICE_FULL = "service_full"
    """The service has as many connections as it may have (``max_connections`` of its own)."""
    TTL_EXPIRED = "ttl_expired"
    TOO_BIG = "too_big"
    BAD_CHECKSUM = "bad_checksum"
    NO_ROUTE = "no_route"
    """No way to the real server, so none of our addresses that a tunnel could begin at."""
    NO_LOCAL_PORT = "no_local_port"
    """FULLNAT: no local address that is ours, or none with a free port."""
    NOT_TRANSLATED = "not_translated"
    """FULLNAT: a protocol that it does not know, such as SCTP of a firewall mark."""
    NOT_LOCAL = "not_local"
    """The real server is the director, but the VIP is no address of it."""
    PLUGIN_FAULT = "plugin_fault"
    """A scheduler or a forwarder failed, or picked a server that its service does not have."""
