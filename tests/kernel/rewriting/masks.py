"""What may differ between the packets that leave kernel IPVS and those that leave lvsd, and why.

Each rule names the row of docs/differences.md, by its first cell, that says why. It takes what came
of one packet on both sides and returns both with that one difference taken out; what it masks it
first holds to be right. Whatever differs afterwards is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.kernel.rewriting import masks_fields as fields
from tests.kernel.rewriting import masks_sent as sent_on
from tests.kernel.rewriting.anatomy import Assembly
from tests.kernel.rewriting.masks_fields import each
from tests.kernel.rewriting.masks_sent import Both
from tests.kernel.scenario import Seen, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.kernel.rewriting.masks_sent import Sights
    from tests.kernel.scenario import Scenario


@dataclass(frozen=True)
class Rule:
    """A difference that is meant to be. ``mask`` takes the packet that was sent, too."""

    row: str
    mask: Callable[[bytes, Both], Both]


RULES = (
    Rule("fragments", sent_on.joined),
    # What is sent in one case and not in the other.
    Rule("an ICMP error with a wrong checksum", sent_on.wrong_icmp_checksum),
    Rule("ICMPv6 errors of types that nobody has given a meaning", sent_on.unknown_type),
    Rule("ICMP errors about a tunnel with IPv6 outside or inside", sent_on.about_ipv6_tunnel),
    Rule("TCP, UDP and SCTP headers that are cut short or lie about a length", sent_on.lengths),
    Rule("IP options that record a route or times, or ask for a route", sent_on.source_route),
    Rule("DF datagrams over IPv6 that were reassembled and outgrow the way", sent_on.told_once),
    Rule(
        "IPv4 fragments with DF that are longer than the way when put together",
        sent_on.df_of_fragments,
    ),
    # What is in a packet.
    Rule(
        "IP identification and flow label of what the director makes", each(fields.identification)
    ),
    Rule("UDP source port of a GUE tunnel", each(fields.gue_port)),
    Rule("ICMP errors of the director", each(fields.error_source)),
    Rule("TTL in the quote of a packet that is too big", each(fields.quoted_ttl)),
    Rule("UDP over IPv4 without a checksum", each(fields.udp_without_checksum(4))),
    Rule("UDP over IPv6 without a checksum", each(fields.udp_without_checksum(6))),
    Rule(
        "an ICMP error that quotes less than 8 bytes of a transport header",
        each(fields.little_quoted),
    ),
    Rule("TCP and UDP checksums quoted in an ICMP error", each(fields.quoted_checksum)),
    Rule("the MTU that a client is told when a tunnel's way gets narrower", each(fields.stale_mtu)),
    Rule("IP options that record a route or times, or ask for a route", each(fields.recorded)),
    Rule(
        "DF in the fragments of a tunnel's IPv4 packet with IPv6 inside", each(fields.df_of_pieces)
    ),
)


def compared(
    scenario: Scenario, theirs: Sequence[object], ours: Sequence[Sights]
) -> tuple[str | None, set[str]]:
    """Return what is different, and the rows by which something else was allowed to be."""
    used: set[str] = set()
    assembly = Assembly()
    for number, operation in enumerate(scenario.operations):
        kernel, lvsd = theirs[number], ours[number]
        if not isinstance(operation, Send):
            if kernel is not None:
                return f"{scenario.name}: {operation} refused: {kernel}", used
            continue
        assert isinstance(kernel, tuple)
        both = Both(kernel, lvsd)
        sent = assembly.add(operation.data)
        for rule in RULES:
            if both.theirs == both.ours:
                break
            masked = rule.mask(sent, both)
            if masked != both:
                used.add(rule.row)
                both = masked
        if both.theirs != both.ours:
            sides = "\n".join(
                f"{name}:{''.join(map(_described, seen))}"
                for name, seen in (("kernel", both.theirs), ("lvsd", both.ours))
            )
            what = f"{scenario.name}: operation {number}, sent {operation.data.hex()}"
            return f"{what}\n{sides}", used
    return None, used


def _described(seen: Seen) -> str:
    """Return a packet as a line of a report."""
    return f"\n  {seen.side.value} {seen.mac.hex(':')} {seen.data.hex()}"
