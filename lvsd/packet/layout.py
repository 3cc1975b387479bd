"""Where each field of a header is: both IP headers described once, and what lies behind them.

Everybody who reads, writes or rewrites a header takes its offsets and lengths from here. Where a
packet's cost counts, a `struct.Struct` is made of the description when a module is imported, so
that the description costs nothing per packet.
"""

from __future__ import annotations

from struct import Struct, calcsize
from typing import Final

from lvsd.packet.checksum import MODULUS, apply
from lvsd.packet.numbers import ICMP, ICMPV6, SCTP, TCP, UDP

ADDRESSES: Final = "addresses"
"""What `Layout.reader` calls both addresses as one field."""


class Layout:
    """One of the two IP headers, without options or extension headers.

    ``fields`` are its fields in order, each with its name and its format (`struct`). ``first`` is
    what the first one holds in such a header, but for the DS field and the flow label in IPv6.
    ``uncounted`` is how many bytes the length field leaves out.

    ``length``       of the header, in bytes; both addresses are its end
    ``width``        of an address, in bytes
    ``checksum_at``  where its checksum is; 0 where it has none
    ``front``        packs all in front of the addresses
    ``header``       packs all of it
    ``start``        takes apart what is in front of the addresses: the start, and the last 4 bytes
                     as a number, which is called the word
    ``tcp``, ``udp`` take a packet apart: the start, the word, the ends, then sequence number,
                     acknowledgement, 4 bytes and checksum; or the length and the checksum
    ``hop``          one TTL, as it weighs in the word
    ``checksum``     the bits of the word that are the header's checksum
    """

    __slots__ = (
        "_fields",
        "checksum",
        "checksum_at",
        "destination_at",
        "first",
        "front",
        "header",
        "hop",
        "length",
        "length_at",
        "protocol_at",
        "source_at",
        "start",
        "tcp",
        "ttl_at",
        "udp",
        "uncounted",
        "version",
        "width",
    )

    def __init__(
        self, version: int, fields: tuple[tuple[str, str], ...], *, first: int, uncounted: int
    ) -> None:
        self._fields = fields
        places: dict[str, int] = {}
        at = 0
        for name, form in fields:
            places[name] = at
            at += calcsize(f"!{form}")
        self.version = version
        self.first = first
        self.uncounted = uncounted
        self.length = at
        self.length_at = places["length"]
        self.ttl_at = places["ttl"]
        self.protocol_at = places["protocol"]
        self.source_at = places["source"]
        self.destination_at = places["destination"]
        self.width = self.destination_at - self.source_at
        self.checksum_at = places.get("checksum", 0)
        self.checksum = 0xFFFF if self.checksum_at else 0
        self.hop = 1 << 8 * (self.source_at - 1 - self.ttl_at)
        self.header = Struct("!" + "".join(form for _, form in fields))
        self.front = Struct("!" + "".join(form for _, form in fields[:-2]))
        self.start = self.apart()
        ends = f"{2 * self.width + 4}s"
        self.tcp = self.apart(f"{ends}II4sH")
        self.udp = self.apart(f"{ends}HH")

    def apart(self, behind: str = "") -> Struct:
        """Return what takes apart the start, the word, and behind it fields of some formats."""
        return Struct(f"!{self.source_at - 4}sI{behind}")

    def reader(self, *names: str) -> Struct:
        """Return what reads the fields of these names, in the order of the header.

        `ADDRESSES` stands for both addresses as one.
        """
        forms = []
        for name, form in self._fields:
            if name in names:
                forms.append(form)
            elif name == "source" and ADDRESSES in names:
                forms.append(f"{2 * self.width}s")
            elif name != "destination" or ADDRESSES not in names:
                forms.append(f"{calcsize(f'!{form}')}x")
        return Struct("!" + "".join(forms))

    def next_word(self, word: int, addresses: int) -> int:
        """Return the word of a packet that goes on with one TTL less; that must be above 0.

        ``addresses`` is the difference that new addresses make to the checksum, modulo `MODULUS`.
        """
        word -= self.hop
        if not self.checksum:
            return word
        # The TTL is the upper half of what the checksum adds up.
        change = (addresses - 0x100) % MODULUS or MODULUS
        return word & ~self.checksum | apply(word & self.checksum, change)


IPV4: Final = Layout(
    4,
    (
        ("first", "B"),
        ("dsfield", "B"),
        ("length", "H"),
        ("identification", "H"),
        ("fragmentation", "H"),
        ("ttl", "B"),
        ("protocol", "B"),
        ("checksum", "H"),
        ("source", "4s"),
        ("destination", "4s"),
    ),
    first=0x45,
    uncounted=0,
)
"""RFC 791, section 3.1."""

IPV6: Final = Layout(
    6,
    (
        ("first", "I"),
        ("length", "H"),
        ("protocol", "B"),
        ("ttl", "B"),
        ("source", "16s"),
        ("destination", "16s"),
    ),
    first=6 << 28,
    uncounted=40,
)
"""RFC 8200, section 3; ``protocol`` and ``ttl`` are its next header and hop limit."""

LAYOUTS: Final = {4: IPV4, 6: IPV6}
"""By IP version."""

BY_WIDTH: Final = {4: IPV4, 16: IPV6}
"""By the length of an address."""

IPV4_CHECKSUM: Final = IPV4.checksum_at
IDENTIFICATION_AT: Final = 4
FRAGMENTATION_AT: Final = 6
"""Both of IPv4; IPv6 has them in an extension header."""

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
FRAGMENT_OFFSET: Final = 0x1FFF
"""The bits of IPv4's fragmentation field; the offset counts 8 bytes."""

PORTED: Final = frozenset({TCP, UDP, SCTP})
"""The protocols whose headers begin with a source and a destination port."""

PORTS: Final = Struct("!HH")

LEAST_BYTES: Final = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 8, ICMPV6: 8}
"""The shortest header of each protocol, in bytes."""

CHECKSUM_AT: Final = {TCP: 16, UDP: 6, ICMPV6: 2}
"""Where in its header each protocol keeps a checksum that covers the addresses."""

ICMP_CHECKSUM: Final = 2
SCTP_CHECKSUM: Final = 8

TCP_HEADER: Final = Struct("!HHIIBBHHH")
"""Ports, sequence number, acknowledgement, length in words (upper half), flags, window, checksum,
urgent pointer (RFC 9293, section 3.1)."""

SEQ_AT: Final = 4
ACK_AT: Final = 8
OFFSET_AT: Final = 12
FLAGS_AT: Final = 13
"""Where in a TCP header the numbers, its own length and the flags are."""

UDP_HEADER: Final = Struct("!HHHH")
"""Ports, length, checksum (RFC 768)."""

UDP_LENGTH_AT: Final = 4

SCTP_HEADER: Final = Struct("!HH4s4s")
"""Ports, verification tag, checksum (RFC 9260, section 3.1)."""

ICMP_HEADER: Final = Struct("!BBHI")
"""Type, code, checksum, and 4 bytes that each type uses for something else."""
