"""Masks of what is in a packet. Each takes what was sent, the kernel's packet and lvsd's.

It returns both with one difference taken out of them, if what differs is right by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.packets import TCP, UDP, checksum
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.anatomy import (
    TOO_BIG,
    inside,
    is_own,
    is_own_error,
    is_tunnel,
    kind,
    next_hop,
    quoted,
    told_mtu,
    too_big,
    transport,
    unsummed,
    without_checksum,
)
from tests.kernel.rewriting.masks_sent import DF, Both, has_options
from tests.kernel.rig import MTU

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_ROUTE, TIMESTAMP = 0x07, 0x44


def each(mask: Callable[[bytes, bytes, bytes], tuple[bytes, bytes]]) -> Callable[..., Both]:
    """Return a mask of all packets from one of pairs of them: what was sent, theirs, ours."""

    def masked(sent: bytes, both: Both) -> Both:
        if len(both.theirs) != len(both.ours):
            return both
        theirs, ours = [], []
        for kernel, lvsd in zip(*both, strict=True):
            pair = kernel.data, lvsd.data
            if pair[0] != pair[1] and _alike(*pair):
                pair = mask(sent, *pair)
            theirs.append(kernel._replace(data=pair[0]))
            ours.append(lvsd._replace(data=pair[1]))
        return Both(tuple(theirs), tuple(ours))

    return masked


def _alike(one: bytes, other: bytes) -> bool:
    """Whether two packets are of one IP version and protocol."""
    return shapes.version(one) == shapes.version(other) and shapes.protocol(one) == shapes.protocol(
        other
    )


def identification(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take out the number, or the flow label, of what the director makes."""
    if not is_own(sent, theirs) or not is_own(sent, ours):
        return theirs, ours
    if shapes.version(theirs) == 6:
        return _without_label(theirs), _without_label(ours)
    return _without_number(theirs), _without_number(ours)


def _without_label(data: bytes) -> bytes:
    return shapes.with_flow_label(data, 0)


def _without_number(data: bytes) -> bytes:
    return shapes.with_bytes(unsummed(data, 0), 4, bytes(2))


def gue_port(_sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take out the source port of GUE, and the checksum over it."""
    if not (shapes.protocol(theirs) == UDP and is_tunnel(theirs) and is_tunnel(ours)):
        return theirs, ours
    return _without_source_port(theirs), _without_source_port(ours)


def _without_source_port(data: bytes) -> bytes:
    if shapes.transport_checksum(data):
        data = without_checksum(data)
    return shapes.with_bytes(data, shapes.header_bytes(data), bytes(2))


def error_source(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take out the source of an error of the director, and checksums over it."""
    if not is_own_error(sent, theirs) or not is_own_error(sent, ours):
        return theirs, ours
    return _without_source(theirs), _without_source(ours)


def _without_source(data: bytes) -> bytes:
    if shapes.version(data) == 4:
        return shapes.with_bytes(unsummed(data, 0), 12, bytes(4))
    return shapes.with_bytes(without_checksum(data), 8, bytes(16))


def quoted_ttl(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Give back to the kernel's quote the hop that it has taken off."""
    if not is_own_error(sent, theirs) or not quoted(ours) or kind(theirs) != too_big(theirs):
        return theirs, ours
    at = len(theirs) - len(quoted(theirs))
    quote = quoted(theirs)
    ttl_at = 8 if shapes.version(quote) == 4 else 7
    if quote[ttl_at] + 1 != quoted(ours)[ttl_at]:
        return theirs, ours
    restored = _whole_header(shapes.with_bytes(quote, ttl_at, bytes((quote[ttl_at] + 1,))))
    theirs = without_checksum(theirs)
    ours = without_checksum(ours)
    return shapes.with_bytes(theirs, at, restored), ours


def _whole_header(quote: bytes) -> bytes:
    """Return a quote whose IP header checksum is right again."""
    if shapes.version(quote) == 6:
        return quote
    header = shapes.with_bytes(quote[: shapes.header_bytes(quote)], 10, bytes(2))
    return shapes.with_bytes(quote, 10, checksum(header).to_bytes(2))


def udp_without_checksum(version: int) -> Callable[[bytes, bytes, bytes], tuple[bytes, bytes]]:
    """Take off the kernel's checksum where the sender had none, nor lvsd."""

    def mask(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
        is_udp = shapes.protocol(sent) == UDP == shapes.protocol(theirs)
        if is_udp and shapes.version(ours) == version and not shapes.transport_checksum(ours):
            theirs = without_checksum(theirs)
        return theirs, ours

    return mask


def quoted_checksum(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take out the quoted checksum: the kernel's as it came, ours changed with the ends."""
    before, kernel, lvsd = map(quoted, (sent, theirs, ours))
    if not before or is_own(sent, ours) or len(kernel) != len(lvsd):
        return theirs, ours
    at = _quoted_checksum_at(lvsd)
    if at is None or len(lvsd) != len(before) or kernel[at : at + 2] != before[at : at + 2]:
        return theirs, ours
    if _sum_of_ends(before, at) != _sum_of_ends(lvsd, at):
        return theirs, ours
    start = len(ours) - len(lvsd)
    theirs, ours = (
        shapes.with_bytes(without_checksum(data), start + at, bytes(2)) for data in (theirs, ours)
    )
    return theirs, ours


def _quoted_checksum_at(quote: bytes) -> int | None:
    """Return where a quote has TCP's or UDP's checksum; None if it does not have it whole."""
    protocol, at = transport(quote)
    if protocol not in {TCP, UDP}:
        return None
    at += shapes.CHECKSUM_AT[protocol]
    return at if at + 2 <= len(quote) else None


def _sum_of_ends(data: bytes, checksum_at: int) -> int:
    """Return what addresses, ports and checksum sum up to: new ends do not change it."""
    _, at = transport(data)
    ends = shapes.source(data) + shapes.destination(data) + data[at : at + 4]
    return int.from_bytes(ends + data[checksum_at : checksum_at + 2]) % 0xFFFF


def little_quoted(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take our untouched error for the kernel's, where less is quoted than routers do."""
    quote = quoted(sent)
    if quote and len(quote) < transport(quote)[1] + 8 and ours == next_hop(sent):
        return ours, ours
    return theirs, ours


def stale_mtu(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take our MTU, what the error leaves, for the greater one that the kernel tells."""
    outer = quoted(sent)
    if not outer or not is_tunnel(outer) or not is_own_error(sent, ours):
        return theirs, ours
    if kind(ours) != TOO_BIG[4] or kind(theirs) != TOO_BIG[4]:
        return theirs, ours
    told = told_mtu(sent) - (len(outer) - len(inside(outer)))
    if told_mtu(ours) != told or told_mtu(theirs) <= told:
        return theirs, ours
    mtu = slice(26, 28)
    theirs, ours = map(without_checksum, (theirs, ours))
    return shapes.with_bytes(theirs, mtu.start, ours[mtu]), ours


def recorded(sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take the options of the packet that was sent into both, and out of the kernel's errors."""
    if not has_options(sent, {RECORD_ROUTE, TIMESTAMP}):
        return theirs, ours
    if is_own_error(sent, theirs) and is_own_error(sent, ours):
        return _with_sent_options(sent, _without_options(theirs)), _with_sent_options(sent, ours)
    if len(theirs) != len(ours) or theirs[-len(sent)] != sent[0] or ours[-len(sent)] != sent[0]:
        return theirs, ours
    return _with_sent_options(sent, theirs), _with_sent_options(sent, ours)


def _with_sent_options(sent: bytes, data: bytes) -> bytes:
    """Return a packet that ends in the one that was sent, with its options as they were."""
    at = len(data) - len(sent)
    options = sent[20 : shapes.header_bytes(sent)]
    if at:
        data = without_checksum(data)
    restored = shapes.with_bytes(unsummed(data, at), at + 20, options)
    return unsummed(restored, at)  # the kernel leaves the checksum of what it quotes as it came


def _without_options(data: bytes) -> bytes:
    """Return an IPv4 packet without its options, and without the header checksum."""
    bare = shapes.refreshed(b"\x45" + data[1:20] + data[shapes.header_bytes(data) :])
    return unsummed(bare, 0)


def df_of_pieces(_sent: bytes, theirs: bytes, ours: bytes) -> tuple[bytes, bytes]:
    """Take off DF, which the kernel's fragments of such a tunnel's packet have."""
    is_one = is_tunnel(ours) and shapes.version(ours) == 4 and len(ours) > MTU
    if is_one and shapes.version(inside(ours)) == 6 and theirs[6] == DF and not ours[6]:
        return shapes.with_bytes(unsummed(theirs, 0), 6, bytes(1)), unsummed(ours, 0)
    return theirs, ours
