"""The text of lvsd's own nftables table: what is diverted, as sets; how, as rules over them.

Pure: strings in, strings out. `lvsd.io.divert` has nft compile the rules once; they never change
while lvsd runs, only the elements of the sets do, so a reload of the configuration is one small
transaction that a packet sees wholly or not at all.

The table beside what else hooks into the way of a packet::

    prerouting  -400  the kernel reassembles fragments (see REASSEMBLY)
                -300  the operator's raw rules: marks set from here on are seen
                -290  chain untracked: our flows are kept out of ...
                -200  ... conntrack
                -150  the operator's mangle rules: marks set here are seen by ...
                -149  ... chain requests: into the queue, before routing; FULLNAT's replies, too
    input        100  chain replies_to_us: replies to the director's own programs into the queue
    forward        0  the operator's filter sees CIP -> RIP, and RIP -> CIP in NAT's replies
                 100  chain replies: into the queue; later hooks see VIP -> CIP; what would be
                      forwarded to a VIP ends here
    output      -450  chain sent: what our raw sockets send loses its mark, and is kept out of
                      reassembly and conntrack
                -290  chain untracked_output: so are replies of services on the director itself,
                      and requests of the director's own programs
                -149  chain own_requests: those into the queue; what is let through comes by lo into
                      prerouting, where it is left alone
                   0  the operator's filter sees LIP -> RIP and VIP -> CIP (FULLNAT), DIP -> RIP
                      (TUN), RIP -> CIP (NAT to the director itself)
                 100  chain own_replies: into the queue; later hooks see VIP -> CIP

Right behind each chain that queues, at -148 and 101, stands its double of the table ``inet
lvsd_guard`` (`lvsd.io.guard`).

DR's frames meet no hook. 100 is where kernel IPVS translates replies (ip_vs_core.c, ip_vs_ops4).
A mark that is set only at -150 comes too late to keep conntrack off: mark at -300 where that
matters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE: Final = "lvsd"
DRAFT: Final = "lvsd_draft"
"""The table that nft compiles the rules in. It is dormant: nothing in it meets a packet."""
QUEUE_CHAIN: Final = "divert"
"""The chain that every rule ends in; it holds the one rule that queues (`lvsd.io.divert`)."""
GUARD_CHAIN: Final = "guard"
"""The chain with what both tables have for the guard: three rules (`lvsd.io.guard`)."""
SEEN: Final = 0x8000
"""The bit of a packet's priority that says to the guard: this one came by lvsd's own table.

Nothing else of the priority changes, and the guard takes the bit off at once. Priorities that
programs or rules set are small numbers, or a class of a queueing discipline, MAJOR:MINOR, and this
would be class 8000 or later of one.
"""

SENT_MARK: Final = 0x6C767364
"""SO_MARK of all our raw sockets ("lvsd"); no packet leaves the host with it."""

Endpoint: TypeAlias = tuple[bytes, int, int]
"""Address (packed), IP protocol number, port (host order; 0: any port)."""

_NONE: Final[frozenset[Endpoint]] = frozenset()
_NOWHERE: Final[frozenset[bytes]] = frozenset()
_ESP, _AH = 50, 51
_PROTOCOL: Final = struct.Struct("Bxxx")
_PORT: Final = struct.Struct("!Hxx")
_MARK: Final = struct.Struct("=I")

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

    ``endpoints`` are virtual services, ``marks`` firewall marks of virtual services; the others
    are what comes back, by the way that real servers are reached.
    """

    endpoints: frozenset[Endpoint] = _NONE
    marks: frozenset[int] = field(default_factory=frozenset)
    servers: frozenset[Endpoint] = _NONE
    """NAT: their replies are taken in the hooks FORWARD and INPUT, and ICMP errors from wherever on
    their way."""
    own_servers: frozenset[Endpoint] = _NONE
    """NAT, addresses of the director itself: their replies are taken in hook OUTPUT."""
    fullnat_servers: frozenset[Endpoint] = _NONE
    """FULLNAT: their replies to one of ``local_addresses`` are taken in hook PREROUTING."""
    local_addresses: frozenset[bytes] = _NOWHERE
    """FULLNAT's LIPs: ICMP errors to them are taken."""
    tunnel_ends: frozenset[bytes] = _NOWHERE
    """Our addresses that tunnels begin at: ICMP errors to them are taken."""
    ipsec: frozenset[bytes] = _NOWHERE
    """VIPs whose AH and ESP packets are taken."""
    ipsec_servers: frozenset[bytes] = _NOWHERE
    """NAT: real servers whose AH and ESP packets are replies."""
    not_forwarded: frozenset[bytes] = _NOWHERE
    """VIPs that nothing is forwarded to, whatever its protocol and port."""


_VERSIONS: Final = (
    {"ip": "ip", "icmp": "icmp", "v": 4, "errors": ", ".join(ICMP_ERRORS[4])},
    {"ip": "ip6", "icmp": "icmpv6", "v": 6, "errors": ", ".join(ICMP_ERRORS[6])},
)


def _both(*templates: str) -> tuple[str, ...]:
    """Return every rule, or set, for IPv4 and for IPv6."""
    return tuple(each.format_map(names) for each in templates for names in _VERSIONS)


_ENDPOINT: Final = "ipv{v}_addr . inet_proto . inet_service"
_ANY_PORT: Final = "ipv{v}_addr . inet_proto"
_ADDRESS: Final = "ipv{v}_addr"

SET_TYPES: Final[dict[str, str]] = {
    name.format_map(names): kind.format_map(names)
    for name, kind in {
        "services{v}": _ENDPOINT,
        "any_port{v}": _ANY_PORT,
        "vips{v}": _ADDRESS,
        "not_forwarded{v}": _ADDRESS,
        "marks": "mark",
        "servers{v}": _ENDPOINT,
        "any_port_servers{v}": _ANY_PORT,
        "own_servers{v}": _ENDPOINT,
        "any_port_own_servers{v}": _ANY_PORT,
        "own_rips{v}": _ADDRESS,
        "fullnat_servers{v}": _ENDPOINT,
        "any_port_fullnat_servers{v}": _ANY_PORT,
        "lips{v}": _ADDRESS,
        "ends{v}": _ADDRESS,
        "errors{v}": "{icmp}_type",
        "forwarded_errors{v}": "{icmp}_type",
    }.items()
    for names in _VERSIONS
}

_OWN_REQUESTS: Final = (
    *_both(
        "{ip} daddr . meta l4proto . th dport @services{v}",
        "{ip} daddr . meta l4proto @any_port{v}",
    ),
    "meta mark @marks",
)
_REQUESTS: Final = (
    *_OWN_REQUESTS,
    *_both("{ip} daddr @vips{v} {icmp} type {{ {errors} }}"),
)
_REPLIES: Final = _both(
    "{ip} saddr . meta l4proto . th sport @servers{v}",
    "{ip} saddr . meta l4proto @any_port_servers{v}",
)
_FULLNAT_REPLIES: Final = _both(
    "{ip} daddr @lips{v} {ip} saddr . meta l4proto . th sport @fullnat_servers{v}",
    "{ip} daddr @lips{v} {ip} saddr . meta l4proto @any_port_fullnat_servers{v}",
)
_OWN_REPLIES: Final = _both(
    "{ip} saddr . meta l4proto . th sport @own_servers{v}",
    "{ip} saddr . meta l4proto @any_port_own_servers{v}",
)
_OWN_ERRORS: Final = _both("{ip} saddr @own_rips{v} {icmp} type {{ {errors} }}")
_DELIVERED_REPLIES: Final = _both(
    "{ip} saddr . meta l4proto . th sport @services{v}",
    "{ip} saddr . meta l4proto @any_port{v}",
)

# A packet for a VIP that is an address of the host is never forwarded. To any other VIP the host
# would forward what no rule takes, such as other ports and echo requests: to a router that sends it
# back, until its TTL ends. The kernel's routing says which a VIP is, and the operator's filter
# has had its say before.
_BACK: Final = _both("{ip} daddr @not_forwarded{v}")

# An error to an address that the host itself uses, too, may be about a flow of the host's: it is
# looked at and passed on if not ours, and conntrack must see it, or "related" would never match.
# (Errors make no entries.) A mark does not say for which address it stands, and an error about a
# reply comes without the mark: while there are marks, every error is looked at. Errors about NAT's
# requests may come from any router on the way to a real server: these too, while there are servers.
# The sets say whether there are, so that the rules can stay.
_ERRORS: Final = _both("{ip} daddr @ends{v} {icmp} type {{ {errors} }}", "{icmp} type @errors{v}")
_FORWARDED_ERRORS: Final = _both("{icmp} type @forwarded_errors{v}")


def draft(reassembly: str, *, guarded: bool) -> str:
    """Return the nft script that compiles the rules in table `DRAFT`, all in one transaction.

    ``reassembly`` is one of `REASSEMBLY`. With ``guarded`` there is what tells the guard which
    packets came by lvsd's own table.
    """
    is_seen = f"meta priority & {SEEN:#x} == {SEEN:#x}"
    guard = [
        f"meta priority set meta priority | {SEEN:#x}",
        f"{is_seen} meta priority set meta priority & {~SEEN & 0xFFFFFFFF:#x} accept",
        "drop",
    ]
    chains = (
        _chain(QUEUE_CHAIN, "", []),
        _chain(GUARD_CHAIN, "", guard if guarded else []),
        _chain("reassemble", "", [reassembly]),
        _chain("on_loopback", "", _rules((*_FULLNAT_REPLIES, *_ERRORS), f"goto {QUEUE_CHAIN}")),
        _chain(
            "untracked",
            "type filter hook prerouting priority -290;",
            _rules((*_REQUESTS, *_REPLIES, *_FULLNAT_REPLIES), "notrack accept"),
        ),
        _chain(
            "requests",
            "type filter hook prerouting priority -149;",
            [
                'iif "lo" goto on_loopback',
                *_rules((*_REQUESTS, *_FULLNAT_REPLIES, *_ERRORS), f"goto {QUEUE_CHAIN}"),
            ],
        ),
        _chain(
            "replies_to_us",
            "type filter hook input priority 100;",
            _rules((*_REPLIES, *_FORWARDED_ERRORS), f"goto {QUEUE_CHAIN}"),
        ),
        _chain(
            "replies",
            "type filter hook forward priority 100;",
            [
                *_rules(_BACK, "counter drop"),
                *_rules((*_REPLIES, *_FORWARDED_ERRORS), f"goto {QUEUE_CHAIN}"),
            ],
        ),
        _chain(
            "sent",
            "type filter hook output priority -450;",
            [f"meta mark {SENT_MARK:#x} notrack meta mark set 0 accept"],
        ),
        _chain(
            "untracked_output",
            "type filter hook output priority -290;",
            _rules((*_DELIVERED_REPLIES, *_OWN_REPLIES, *_OWN_REQUESTS), "notrack accept"),
        ),
        _chain(
            "own_requests",
            "type filter hook output priority -149;",
            _rules(_OWN_REQUESTS, f"goto {QUEUE_CHAIN}"),
        ),
        _chain(
            "own_replies",
            "type filter hook output priority 100;",
            _rules((*_OWN_REPLIES, *_OWN_ERRORS), f"goto {QUEUE_CHAIN}"),
        ),
    )
    sets = [f"set {name} {{ type {kind}; }}" for name, kind in SET_TYPES.items()]
    body = "\n".join(["flags dormant;", *sets, *chains])
    return f"add table inet {DRAFT}\ndelete table inet {DRAFT}\ntable inet {DRAFT} {{\n{body}\n}}\n"


def _chain(name: str, hook: str, rules: list[str]) -> str:
    return f"chain {name} {{\n{hook}\n" + "\n".join(rules) + "\n}"


def _rules(matches: tuple[str, ...], statement: str) -> list[str]:
    return [f"{match} {statement}" for match in matches]


def keys(diverted: Diverted) -> dict[str, set[bytes]]:
    """Return the elements of the sets as the kernel has them; empty sets are not there.

    An element is its fields one after the other, each padded to four bytes where there are
    several (concat_type_alloc in nftables' datatype.c). Numbers are in network byte order, marks
    in the host's.
    """
    found: dict[str, set[bytes]] = {name: set() for name in SET_TYPES}

    def add(name: str, addresses: Iterable[bytes]) -> None:
        for address in addresses:
            found[f"{name}{_version(address)}"].add(address)

    def add_endpoints(exact: str, any_port: str, endpoints: Iterable[Endpoint]) -> None:
        of_length = {
            length: (found[f"{exact}{version}"], found[f"{any_port}{version}"])
            for length, version in ((4, 4), (16, 6))
        }
        for address, protocol, port in endpoints:
            exactly, of_any_port = of_length[len(address)]
            if port:
                exactly.add(address + _PROTOCOL.pack(protocol) + _PORT.pack(port))
            else:
                of_any_port.add(address + _PROTOCOL.pack(protocol))

    endpoints = diverted.endpoints | _ipsec(diverted.ipsec)
    servers = diverted.servers | _ipsec(diverted.ipsec_servers)
    add_endpoints("services", "any_port", endpoints)
    add("vips", (address for address, _, _ in endpoints))
    add("not_forwarded", diverted.not_forwarded)
    add_endpoints("servers", "any_port_servers", servers)
    add_endpoints("own_servers", "any_port_own_servers", diverted.own_servers)
    add("own_rips", (address for address, _, _ in diverted.own_servers))
    add_endpoints("fullnat_servers", "any_port_fullnat_servers", diverted.fullnat_servers)
    add("lips", diverted.local_addresses)
    add("ends", diverted.local_addresses | diverted.tunnel_ends)
    found["marks"].update(map(_MARK.pack, diverted.marks))
    lengths = {len(address) for address, _, _ in servers}
    with_servers = {4 if length == 4 else 6 for length in lengths}
    for version, types in ICMP_ERRORS.items():
        encoded = [bytes((int(each),)) for each in types]
        if diverted.marks:
            found[f"errors{version}"].update(encoded)
        if version in with_servers:
            found[f"forwarded_errors{version}"].update(encoded)
    return {name: each for name, each in found.items() if each}


def _ipsec(addresses: Iterable[bytes]) -> frozenset[Endpoint]:
    """Return AH and ESP of these addresses as endpoints: protocols without ports."""
    return frozenset((address, protocol, 0) for address in addresses for protocol in (_ESP, _AH))


def _version(address: bytes) -> int:
    return 4 if len(address) == 4 else 6
