"""The text of lvsd's own nftables table: what is diverted, as sets; how, as rules over them.

Pure: strings in, strings out; `lvsd.io.divert` feeds them to nft. The rules never change while
lvsd runs, only the elements of the sets do, so a reload of the configuration is one small
transaction that a packet sees wholly or not at all.

The table beside what else hooks into the way of a packet::

    prerouting  -400  the kernel reassembles fragments (see REASSEMBLY)
                -300  the operator's raw rules: marks set from here on are seen
                -290  chain untracked: our flows are kept out of ...
                -200  ... conntrack
                -150  the operator's mangle rules: marks set here are seen by ...
                -149  ... chain requests: into the queue, before routing
    forward        0  the operator's filter sees CIP -> RIP, and RIP -> CIP in replies
                 100  chain replies: into the queue; later hooks see VIP -> CIP

100 is where kernel IPVS translates replies (ip_vs_core.c, ip_vs_ops4). A mark that is set only
at -150 comes too late to keep conntrack off: mark at -300 where that matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lvsd.packet.address import text

TABLE: Final = "lvsd"
QUEUE_CHAIN: Final = "divert"
"""The chain that every rule ends in; it holds the one rule that queues (`lvsd.io.divert`)."""

Endpoint: TypeAlias = tuple[bytes, int, int]
"""Address (packed), IP protocol number, port (host order; 0: any port)."""

_NONE: Final[frozenset[Endpoint]] = frozenset()

ICMP_ERRORS: Final = {4: ("3", "4", "11"), 6: ("1", "2", "3", "4")}
"""Types of ICMP and ICMPv6 messages that carry the packet they complain of (as in IPVS)."""

REASSEMBLY: Final = ("meta l4proto udp tproxy to :1", "ct state new")
"""Rules that make the kernel reassemble fragments before anybody sees them; the first it takes.

Neither is ever run: that the rule exists is enough to switch nf_defrag_ipv4 and _ipv6 on in
this network namespace, for as long as the table stands. ``tproxy`` costs just that: fragments
of all traffic wait at -400 for their siblings (at most net.ipv4.ipfrag_high_thresh bytes, for
net.ipv4.ipfrag_time seconds) and go out cut anew. ``ct``, for kernels without nft_tproxy, also
switches conntrack on, which then tracks every flow of the machine but ours.
"""


@dataclass(frozen=True, slots=True)
class Diverted:
    """What belongs to lvsd.

    ``endpoints`` are virtual services, ``marks`` firewall marks of virtual services, and
    ``servers`` the real servers whose replies are to be translated back.
    """

    endpoints: frozenset[Endpoint] = _NONE
    marks: frozenset[int] = field(default_factory=frozenset)
    servers: frozenset[Endpoint] = _NONE


_SET_TYPES: Final = {
    "services4": "ipv4_addr . inet_proto . inet_service",
    "services6": "ipv6_addr . inet_proto . inet_service",
    "any_port4": "ipv4_addr . inet_proto",
    "any_port6": "ipv6_addr . inet_proto",
    "vips4": "ipv4_addr",
    "vips6": "ipv6_addr",
    "marks": "mark",
    "servers4": "ipv4_addr . inet_proto . inet_service",
    "servers6": "ipv6_addr . inet_proto . inet_service",
    "any_port_servers4": "ipv4_addr . inet_proto",
    "any_port_servers6": "ipv6_addr . inet_proto",
    "errors4": "icmp_type",
    "errors6": "icmpv6_type",
    "forwarded_errors4": "icmp_type",
    "forwarded_errors6": "icmpv6_type",
}

_REQUESTS: Final = (
    "ip daddr . meta l4proto . th dport @services4",
    "ip6 daddr . meta l4proto . th dport @services6",
    "ip daddr . meta l4proto @any_port4",
    "ip6 daddr . meta l4proto @any_port6",
    f"ip daddr @vips4 icmp type {{ {', '.join(ICMP_ERRORS[4])} }}",
    f"ip6 daddr @vips6 icmpv6 type {{ {', '.join(ICMP_ERRORS[6])} }}",
    "meta mark @marks",
)

_REPLIES: Final = (
    "ip saddr . meta l4proto . th sport @servers4",
    "ip6 saddr . meta l4proto . th sport @servers6",
    "ip saddr . meta l4proto @any_port_servers4",
    "ip6 saddr . meta l4proto @any_port_servers6",
)

# A mark does not say for which address it stands, and an error about a reply comes without the
# mark: while there are marks, every ICMP error is looked at (and passed on if not ours). Errors
# about requests may come from any router on the way to a real server: likewise while there are
# servers. The sets say whether there are, so that the rules can stay.
_ERRORS: Final = ("icmp type @errors4", "icmpv6 type @errors6")
_FORWARDED_ERRORS: Final = ("icmp type @forwarded_errors4", "icmpv6 type @forwarded_errors6")


def script(diverted: Diverted, reassembly: str) -> str:
    """Return the nft script that brings the table to life, all in one transaction.

    ``reassembly`` is one of `REASSEMBLY`.
    """
    chains = (
        _chain("reassemble", "", [reassembly]),
        _chain(
            "untracked",
            "type filter hook prerouting priority -290;",
            [f"{match} notrack accept" for match in (*_REQUESTS, *_REPLIES)],
        ),
        _chain(
            "requests",
            "type filter hook prerouting priority -149;",
            [f"{match} goto {QUEUE_CHAIN}" for match in (*_REQUESTS, *_ERRORS)],
        ),
        _chain(
            "replies",
            "type filter hook forward priority 100;",
            [f"{match} goto {QUEUE_CHAIN}" for match in (*_REPLIES, *_FORWARDED_ERRORS)],
        ),
    )
    sets = [f"set {name} {{ type {kind}; }}" for name, kind in _SET_TYPES.items()]
    table = f"table inet {TABLE} {{\n" + "\n".join([*sets, *chains]) + "\n}\n"
    return table + changes(Diverted(), diverted)


def changes(old: Diverted, new: Diverted) -> str:
    """Return the nft script that turns the sets from ``old`` into ``new``; empty if they agree."""
    before, after = _elements(old), _elements(new)
    steps = [("delete", name, before[name] - after[name]) for name in _SET_TYPES]
    steps += [("add", name, after[name] - before[name]) for name in _SET_TYPES]
    return "".join(
        f"{verb} element inet {TABLE} {name} {{ {', '.join(sorted(elements))} }}\n"
        for verb, name, elements in steps
        if elements
    )


def _chain(name: str, hook: str, rules: list[str]) -> str:
    return f"chain {name} {{\n{hook}\n" + "\n".join(rules) + "\n}"


def _elements(diverted: Diverted) -> dict[str, set[str]]:
    """Return the elements of every set as nft reads them."""
    elements: dict[str, set[str]] = {name: set() for name in _SET_TYPES}
    for address, protocol, port in diverted.endpoints:
        family = _family(address)
        elements[f"vips{family}"].add(text(address))
        if port:
            elements[f"services{family}"].add(f"{text(address)} . {protocol} . {port}")
        else:
            elements[f"any_port{family}"].add(f"{text(address)} . {protocol}")
    for address, protocol, port in diverted.servers:
        family = _family(address)
        elements[f"forwarded_errors{family}"].update(ICMP_ERRORS[family])
        if port:
            elements[f"servers{family}"].add(f"{text(address)} . {protocol} . {port}")
        else:
            elements[f"any_port_servers{family}"].add(f"{text(address)} . {protocol}")
    if diverted.marks:
        elements["marks"].update(map(str, diverted.marks))
        for family, types in ICMP_ERRORS.items():
            elements[f"errors{family}"].update(types)
    return elements


def _family(address: bytes) -> int:
    return 4 if len(address) == 4 else 6
