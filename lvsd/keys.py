"""What a service and a real server may be told, each thing in a row: what every place calls it.

A request names it by ``word``, and so do listings, events and the log. A configuration has it under
``toml``, lvsadm's command line under ``--option``. It is read, listed, saved and compared by these
tables. So a new one takes a row, a field of `lvsd.core.values`, a key of `lvsd.config.model`, and
its lines in the help and the documentation; `tests/unit/test_keys.py` follows every row through
all places.

Pure, and quick to load: lvsadm needs it.
"""

from __future__ import annotations

from enum import Enum, auto
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_INT: Final = 0x7FFFFFFF
"""The most that ipvsadm reads as a number."""

_SOME: Final = range(1 << 32)
_PORTS: Final = range(1 << 16)
_COUNTS: Final = range(MAX_INT + 1)
_TUNNELS: Final = ("ipip", "gue", "gre")
_TOLD: Final = ("toa", "proxy-v2", "none")
_ANSWERED: Final = "udp-answered-timeout"

MAX_S: Final = 31 * 86400
"""The longest timeout, in seconds: ipvsadm's bound."""


class Kind(Enum):
    """What a value is."""

    NUMBER = auto()
    SECONDS = auto()
    LENGTH = auto()
    """Of a prefix; None: the whole address."""
    SWITCH = auto()
    TEXT = auto()
    FLAGS = auto()
    CHOICE = auto()
    ADDRESSES = auto()
    PORTS = auto()
    """The lowest and the highest of a range."""


_PLAIN: Final = {*Kind} - {Kind.FLAGS, Kind.ADDRESSES, Kind.PORTS}
"""What JSON has as the core does."""


class Key(NamedTuple):
    """One thing that a service or a real server may be told.

    ``letter`` is the option's short form, if ``lvsadm -S`` writes that. ``place`` is where the core
    has the value, if not under ``word``. ``default`` is the value where nobody says one, and
    ``allowed`` what a number or a word may be.
    """

    word: str
    kind: Kind
    option: str
    letter: str = ""
    toml: str = ""
    place: str = ""
    default: Any = 0
    allowed: Sequence[Any] = ()

    @property
    def key(self) -> str:
        """What a configuration calls it."""
        return self.toml or self.word

    @property
    def spelt(self) -> str:
        """The option as ``lvsadm -S`` writes it."""
        return f"-{self.letter}" if self.letter else f"--{self.option}"

    @property
    def at(self) -> str:
        """Where the core has it, with dots between."""
        return self.place or self.word

    def of(self, config: object) -> Any:
        """Return the value that a service, a real server or a forwarder has."""
        return attrgetter(self.at)(config)


OF_IPVS: Final = (
    Key("scheduler", Kind.TEXT, "scheduler", "s", default="wlc"),
    Key("persistence_s", Kind.SECONDS, "persistent", "p"),
    Key("prefix", Kind.LENGTH, "netmask", "M", "persistence_netmask", "", None, range(1, 129)),
    Key("one_packet", Kind.SWITCH, "ops", "o", default=False),
    Key("flags", Kind.FLAGS, "sched-flags", "b", "scheduler_flags", default=frozenset()),
)
"""A service's keys that ipvsadm has, too."""

OF_LVSD: Final = (
    Key("name", Kind.TEXT, "name", default=""),
    Key("max_connections", Kind.NUMBER, "max-connections", allowed=_SOME),
    Key("slow_start_s", Kind.SECONDS, "slow-start"),
    Key("mss_clamp", Kind.SWITCH, "mss-clamp", default=False),
    Key("local_addresses", Kind.ADDRESSES, "laddr", place="local.addresses", default=()),
    Key("local_ports", Kind.PORTS, "local-ports", "", "", "local.ports", (1025, 65535), _PORTS),
    Key("tcp_timeout_s", Kind.SECONDS, "tcp-timeout", place="timing.tcp_s"),
    Key("udp_timeout_s", Kind.SECONDS, "udp-timeout", place="timing.udp_s"),
    Key("udp_answered_timeout_s", Kind.SECONDS, _ANSWERED, place="timing.udp_answered_s"),
)
"""A service's keys beyond those."""

SERVICE: Final = OF_IPVS + OF_LVSD

SERVER: Final = (
    Key("weight", Kind.NUMBER, "weight", "w", default=1, allowed=_PORTS),
    Key("upper", Kind.NUMBER, "u-threshold", "x", "upper_threshold", allowed=_COUNTS),
    Key("lower", Kind.NUMBER, "l-threshold", "y", "lower_threshold", allowed=_COUNTS),
)
"""A real server's keys, whichever way it is forwarded to."""

TUNNEL: Final = (
    Key("tunnel", Kind.CHOICE, "tun-type", place="kind", default="ipip", allowed=_TUNNELS),
    Key("tunnel_port", Kind.NUMBER, "tun-port", place="port", allowed=_PORTS),
    Key("tunnel_checksum", Kind.SWITCH, "tun-csum", place="checksum", default=False),
)
FULLNAT: Final = (
    Key("client_address", Kind.CHOICE, "client-address", default="toa", allowed=_TOLD),
    Key("toa_kind", Kind.NUMBER, "toa-kind", default=254, allowed=range(1, 256)),
)
FORWARDING: Final = {"tun": TUNNEL, "fullnat": FULLNAT}
"""The keys of a way of forwarding, whose forwarder has the values."""


def telling(known: Sequence[Key]) -> Callable[[object], dict[str, Any]]:
    """Return a function that returns the values of something in the words of JSON.

    It is compiled, as a listing calls it for a hundred thousand real servers: a fifth of the time.
    """
    values = (
        f"{each.word!r}: of.{each.at}"
        if each.kind in _PLAIN
        else f"{each.word!r}: plain(of.{each.at})"
        for each in known
    )
    told: Callable[[object], dict[str, Any]] = eval(  # noqa: S307 - of the tables above
        f"lambda of: {{{', '.join(values)}}}", {"plain": plain}
    )
    return told


def plain(value: Any) -> Any:
    """Return a value of the core as JSON has it: addresses as text, flags in order."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return inet_ntop(AF_INET if len(value) == 4 else AF_INET6, value)
    return value
