"""Which packets go by which routing table (ip-rule(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.net.families import INET, INET6
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel, Message

_FAMILIES: Final = {INET, INET6}
_INVERT: Final = 0x02
_NO_SUPPRESSION: Final = 0xFFFFFFFF

TABLE, GOTO, NOP = 1, 2, 3
BLACKHOLE, UNREACHABLE, PROHIBIT = 6, 7, 8
"""What a rule does: FR_ACT_* of linux/fib_rules.h."""

_OTHERS: Final = (
    ("FRA_UID_RANGE", "uid_range"),
    ("FRA_L3MDEV", "l3mdev"),
    ("FRA_SUPPRESS_IFGROUP", "suppress_ifgroup"),
    ("FRA_TUN_ID", "tun_id"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. ``table`` counts for `TABLE`, ``target``, a priority, for `GOTO`."""

    family: int
    priority: int
    action: int
    table: int
    target: int = 0
    source: tuple[bytes, int] | None = None
    """Prefix: address, length."""
    destination: tuple[bytes, int] | None = None
    mark: tuple[int, int] | None = None
    """Firewall mark and mask."""
    in_interface: str = ""
    out_interface: str = ""
    tos: int = 0
    protocol: int = 0
    has_ports: bool = False
    is_inverted: bool = False
    suppress_length: int | None = None
    """What a route of at most this prefix length finds does not count."""
    others: tuple[str, ...] = ()
    """What else it depends on: ``uid_range``, ``l3mdev``, ``suppress_ifgroup``, ``tun_id``."""


def every(kernel: Kernel) -> tuple[Rule, ...]:
    """Return the rules of both families, in the order in which they count. Raise KernelError."""

    def of_ip(message: Message) -> Rule | None:
        return made(message) if message["family"] in _FAMILIES else None

    found = filter(None, kernel.dump("rule", "list the routing rules", of_ip))
    return tuple(sorted(found, key=lambda rule: rule.priority))


def made(message: Message) -> Rule:
    """Return the rule that a message describes."""
    mark, mask = message.get_attr("FRA_FWMARK"), message.get_attr("FRA_FWMASK")
    suppressed = message.get_attr("FRA_SUPPRESS_PREFIXLEN", _NO_SUPPRESSION)
    return Rule(
        family=message["family"],
        priority=message.get_attr("FRA_PRIORITY", 0) or 0,
        action=message["action"],
        table=message.get_attr("FRA_TABLE", 0) or message["table"],
        target=message.get_attr("FRA_GOTO") or 0,
        source=_prefix(message, "FRA_SRC", "src_len"),
        destination=_prefix(message, "FRA_DST", "dst_len"),
        mark=None if not mark and not mask else (mark or 0, 0xFFFFFFFF if mask is None else mask),
        in_interface=message.get_attr("FRA_IIFNAME") or "",
        out_interface=message.get_attr("FRA_OIFNAME") or "",
        tos=message["tos"] or message.get_attr("FRA_DSCP") or 0,
        protocol=message.get_attr("FRA_IP_PROTO") or 0,
        has_ports=bool(message.get_attr("FRA_SPORT_RANGE") or message.get_attr("FRA_DPORT_RANGE")),
        is_inverted=bool(message["flags"] & _INVERT),
        suppress_length=None if suppressed in {None, _NO_SUPPRESSION} else suppressed,
        others=tuple(name for kind, name in _OTHERS if _is_set(message, kind)),
    )


def _prefix(message: Message, kind: str, length: str) -> tuple[bytes, int] | None:
    address = message.get_attr(kind)
    return (pack(address), message[length]) if address else None


def _is_set(message: Message, kind: str) -> bool:
    return message.get_attr(kind) not in {None, 0, _NO_SUPPRESSION}
