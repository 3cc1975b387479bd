"""How many ICMP errors the director sends: limits of each kind, and of each kind for each target.

As the kernel limits itself (net.ipv4.icmp_msgs_per_sec, _burst, icmp_ratelimit): so many a second
in all, and one a second, six at once, to one target. That a packet is too big is always told:
path MTU discovery needs it, and who does not hear of it waits for ever (icmpv4_mask_allow,
icmpv6_mask_allow). What the kernel does not do: each kind has limits of its own, so that
refusals of a flood keep nobody from hearing that a TTL has ended.

The question is asked before a message is made. A limit is one number, the time at which it will
have been used up to the full again (GCRA, "virtual scheduling": ITU-T I.371, annex A).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

RATE_PER_S: Final = 1000.0
AT_ONCE: Final = 50
"""Errors of one kind, to everybody together."""

TARGET_EVERY_S: Final = 1.0
TARGET_AT_ONCE: Final = 6
"""Errors of one kind to one address, where the host's icmp_ratelimit is not another."""

TARGETS_KEPT: Final = 4096
"""Addresses of one kind that are remembered, or half as many; forgotten are the least recent. With
the limit for everybody together, they are those of the last two seconds at least."""


class Kind(Enum):
    """What an ICMP error says."""

    UNREACHABLE = "unreachable"
    TIME_EXCEEDED = "time_exceeded"
    TOO_BIG = "too_big"
    OTHER = "other"
    """Relayed from a tunnel's way."""


class _Limit:
    """The limits of one kind."""

    __slots__ = ("_all", "_old", "_young")

    def __init__(self) -> None:
        self._all = 0.0
        self._young: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}

    def take(self, target: bytes, now: float, every_s: float) -> bool:
        """Return whether one more error may go to a target, and count it if so.

        ``every_s`` is the target's own limit; 0: none.
        """
        all_ = self._all
        if all_ - now > (AT_ONCE - 0.5) / RATE_PER_S:  # a half: sums of fractions are not exact
            return False
        young = self._young
        last = young.get(target)
        if last is None:
            last = self._old.get(target, 0.0)
        if last - now > (TARGET_AT_ONCE - 1) * every_s:
            return False
        self._all = max(all_, now) + 1 / RATE_PER_S
        if len(young) >= TARGETS_KEPT // 2 and target not in young:
            self._old, self._young = young, {}
        self._young[target] = max(last, now) + every_s
        return True


class ErrorLimits:
    """Limits ICMP errors; ``limited`` counts those that were not sent, by kind.

    ``target_every_s`` says how far apart errors to one target are in the long run, in seconds, by
    the length of its address.
    """

    __slots__ = ("_limits", "limited", "target_every_s")

    def __init__(self) -> None:
        self._limits: dict[Kind, _Limit] = {
            kind: _Limit() for kind in Kind if kind is not Kind.TOO_BIG
        }
        self.target_every_s = {4: TARGET_EVERY_S, 16: TARGET_EVERY_S}
        self.limited: dict[Kind, int] = dict.fromkeys(self._limits, 0)

    def take(self, kind: Kind, target: bytes, now: float) -> bool:
        """Return whether an error may be sent to a packed address; ``now`` in seconds."""
        limit = self._limits.get(kind)
        if limit is None or limit.take(target, now, self.target_every_s[len(target)]):
            return True
        self.limited[kind] += 1
        return False

    def counters(self) -> dict[str, int]:
        """Return how many errors were not sent, as ``lvsadm --status`` names them."""
        return {f"limited_{kind.value}": count for kind, count in self.limited.items()}
