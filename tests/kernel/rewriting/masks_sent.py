"""Masks of what the director makes of a packet: what leaves on one side only, or in other pieces.

Each takes the packet that was sent and what came of it on both sides; it returns `NOTHING` where
that is as it is meant to be.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from tests.kernel.packets import ICMPV6, TCP
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.anatomy import (
    TOO_BIG,
    inside,
    is_fragment,
    is_malformed,
    is_own_error,
    is_tunnel,
    kind,
    next_hop,
    put_together,
    quoted,
    too_big,
    transport,
    without_checksum,
)
from tests.kernel.rig import MTU
from tests.kernel.scenario import Seen

Sights: TypeAlias = tuple[Seen, ...]

LOOSE_ROUTE = 0x83
DF = 0x40
LAST_KNOWN_TYPE, INFORMATIONAL = 4, 128
TIME_EXCEEDED = {4: 11, 6: 3}
HOST_UNREACHABLE = {4: (3, 1), 6: (1, 3)}


class Both(NamedTuple):
    """What came of a packet: of the kernel's, and of lvsd's."""

    theirs: Sights
    ours: Sights


NOTHING = Both((), ())
"""Whatever came, it is as it is meant to be."""


def joined(_sent: bytes, both: Both) -> Both:
    """Put fragments together: where packets were cut may differ, not what they are."""
    if not any(map(is_fragment, (*both.theirs, *both.ours))):
        return both
    return Both(put_together(both.theirs), put_together(both.ours))


def wrong_icmp_checksum(sent: bytes, both: Both) -> Both:
    """Let lvsd drop such an error, which the kernel passes on in DR and TUN."""
    is_wrong = bool(quoted(sent)) and without_checksum(sent) is sent
    return NOTHING if is_wrong and not both.ours else both


def lengths(sent: bytes, both: Both) -> Both:
    """Let lvsd drop such a packet, which the kernel forwards if it finds what it needs."""
    return NOTHING if is_malformed(sent) and not both.ours else both


def unknown_type(sent: bytes, both: Both) -> Both:
    """Let lvsd leave such an error alone: forwarded as it is, or for the host."""
    is_one = shapes.protocol(sent) == ICMPV6 and LAST_KNOWN_TYPE < sent[40] < INFORMATIONAL
    untouched = all(each.data == next_hop(sent) for each in both.ours)
    return NOTHING if is_one and untouched else both


def about_ipv6_tunnel(sent: bytes, both: Both) -> Both:
    """Let lvsd tell the client what the kernel does not look at."""
    outer = quoted(sent)
    if not outer or not is_tunnel(outer) or both.theirs or len(both.ours) != 1:
        return both
    inner, (seen,) = inside(outer), both.ours
    if shapes.version(outer) == shapes.version(inner) == 4:
        return both
    told = quoted(seen.data)
    is_told = shapes.destination(seen.data) == shapes.source(inner) and inner.startswith(told)
    is_right = kind(seen.data) == _kind_for(kind(sent), shapes.version(outer), seen.data)
    return NOTHING if told and is_told and is_right else both


def _kind_for(outer: tuple[int, int], version: int, error: bytes) -> tuple[int, int]:
    """Return what an error about a tunnel is to an inner packet, in its family's words."""
    inner_version = shapes.version(error)
    if outer == TOO_BIG[version]:
        return TOO_BIG[inner_version]
    if version == inner_version:
        return outer
    is_expired = outer[0] == TIME_EXCEEDED[version]
    return (TIME_EXCEEDED[inner_version], 0) if is_expired else HOST_UNREACHABLE[inner_version]


def source_route(sent: bytes, both: Both) -> Both:
    """Let lvsd send on, or answer, a packet with a source route, which the kernel drops."""
    if both.theirs or len(both.ours) != 1 or not has_options(sent, {LOOSE_ROUTE}):
        return both
    (seen,) = both.ours
    is_answer = is_own_error(sent, seen.data) and quoted(seen.data) == sent
    return NOTHING if is_answer or seen.data.endswith(next_hop(sent)) else both


def told_once(sent: bytes, both: Both) -> Both:
    """Let lvsd refuse a flow's first datagram and cut others; the kernel looks at fragments."""
    if shapes.version(sent) == 4 or transport(sent)[0] == TCP:
        return both
    if _forwarded_anyway(sent, Both(both.ours, both.theirs)) == NOTHING:
        return NOTHING
    return _forwarded_anyway(sent, both)


def df_of_fragments(sent: bytes, both: Both) -> Both:
    """Let lvsd send on in fragments what the kernel refuses once it is put together."""
    if shapes.version(sent) == 6 or not sent[6] & DF or len(sent) <= MTU:
        return both
    return _forwarded_anyway(sent, both)


def _forwarded_anyway(sent: bytes, both: Both) -> Both:
    """Return nothing if the first said that a packet is too big where the second sent it."""
    if len(both.theirs) != 1 or len(both.ours) != 1:
        return both
    (refusal,), (sent_on,) = both
    if not is_own_error(sent, refusal.data) or kind(refusal.data) != too_big(refusal.data):
        return both
    quote = quoted(refusal.data)
    # NAT changes ends and checksums, which are no further than this in any protocol.
    tail = quote[shapes.header_bytes(quote) + 18 :]
    is_sent = sent_on.side is not refusal.side and tail in sent_on.data
    return NOTHING if is_sent else both


def has_options(data: bytes, kinds: set[int]) -> bool:
    """Whether the first IPv4 option of a packet is one of these."""
    return shapes.version(data) == 4 and shapes.header_bytes(data) > 20 and data[20] in kinds
