"""What the director says of a packet, and why it dropped one."""

from __future__ import annotations

from enum import Enum, IntEnum


class Verdict(Enum):
    """What becomes of a packet whose bytes stay as they are.

    A packet that was rewritten has no member here: the director returns its new bytes.
    """

    PASS = "pass"  # noqa: S105 - not a password
    """Not ours: let it go on through the host's own stack."""

    DROP = "drop"
    """Away with it; the reason was counted."""


class Hook(IntEnum):
    """The netfilter hook that a packet was diverted from (linux/netfilter.h)."""

    PREROUTING = 0
    """Requests: before routing; the kernel routes and forwards what we return."""

    FORWARD = 2
    """Replies: after routing; the kernel has decremented the TTL already."""


class Reason(Enum):
    """Why a packet was dropped, as the counters are named."""

    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    NO_CONNECTION = "no_connection"
    NO_SERVER = "no_server"
    SERVER_GONE = "server_gone"
    TABLE_FULL = "table_full"
    TTL_EXPIRED = "ttl_expired"
    TOO_BIG = "too_big"
    BAD_CHECKSUM = "bad_checksum"
