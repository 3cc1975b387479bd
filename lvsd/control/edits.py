"""What a command line says of services and real servers, and the change that it asks for.

Values are read in the order in which they stand there, as ipvsadm reads them: without a port, a
real server has that of the service if the service was named before. The result is a command of
the control protocol's method ``change``; what was not said has ipvsadm's default, in edits, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lvsd import keys
from lvsd.control.grammar import FORWARD, REFUSED, CommandLineError
from lvsd.control.names import parse_address, parse_netmask, parse_service, whole
from lvsd.errors import UsageError
from lvsd.keys import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvsd.control.grammar import Word
    from lvsd.control.protocol import ServiceSelector
    from lvsd.keys import Key

Change: TypeAlias = "dict[str, Any]"
"""A command of the method ``change``."""

MAX_FWMARK: Final = 0xFFFFFFFF
MAX_WEIGHT: Final = 0xFFFF
PERSISTENCE_S: Final = 360
FULL_LENGTHS: Final = {4: 32, 6: 128}

_PROTOCOLS: Final = {"tcp-service": "tcp", "udp-service": "udp", "sctp-service": "sctp"}
_FORWARDS: Final = {"gatewaying": "dr", "ipip": "tun", "masquerading": "nat", "fullnat": "fullnat"}
_ONE_PORT: Final = {"dr", "tun"}
"""Ways that do not change the port, so that a real server's is the service's."""

_TUNNEL_OPTIONS: Final = ("tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")
_CHECKSUMS: Final = _TUNNEL_OPTIONS[1:]
_OF_TUNNEL: Final = {
    "ipip": set[str](),
    "gue": {*_TUNNEL_OPTIONS},
    "gre": {"tun-nocsum", "tun-csum"},
}
"""The options that each kind of tunnel has."""

_FLAGS: Final = {
    "sh": {"flag-1": "sh-fallback", "flag-2": "sh-port"},
    "mh": {"flag-1": "mh-fallback", "flag-2": "mh-port"},
}
"""What the flags that ipvsadm numbers are, for the schedulers that have some."""
_NUMBERED: Final = ("flag-1", "flag-2", "flag-3")
_FLAG_OF: Final = {flag: name for name, flags in _FLAGS.items() for flag in flags.values()}
_OF_IPVSADM: Final = frozenset(
    {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}
)
"""Schedulers whose flags ipvsadm knows; those of others the daemon knows."""


class Said:
    """What the options of a command line have said so far.

    ``values`` has what each kind of option says; ``service`` and ``server`` are the endpoints.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.service: ServiceSelector | None = None
        self.family = 4
        self.server: tuple[str, int] | None = None

    def read(self, word: Word) -> None:
        """Read one option. Raise CommandLineError if its value is wrong."""
        option, argument = word.option, word.argument or ""
        if option.name == "ipv6":
            self._read_ipv6()
            return
        if option.says in self.values and option.name != "sort":
            raise CommandLineError(f"multiple '{option.says}' options specified")
        if option.name in _PROTOCOLS:
            self._read_endpoint(_PROTOCOLS[option.name], argument)
        elif option.name == "fwmark-service":
            mark = _within(argument, 1, MAX_FWMARK, f"invalid fwmark value `{argument}' specified")
            self.service = {"fwmark": mark, "family": 4}
        elif option.name == "real-server":
            self._read_server(argument)
        value: object = word.argument
        if option.name in _READERS:
            value = _READERS[option.name](word.argument)
        elif option.says == FORWARD:
            value = _FORWARDS[option.name]
        self.values[option.says] = value

    def _read_ipv6(self) -> None:
        if self.service is None or "fwmark" not in self.service:
            raise CommandLineError("-6 used before -f")
        self.service["family"] = self.family = 6

    def _read_endpoint(self, protocol: str, argument: str) -> None:
        illegal = "illegal virtual server address[:port] specified"
        address, port = _endpoint(argument, protocol, 0, illegal)
        self.service = {"protocol": protocol, "address": address, "port": port}
        self.family = _family(address)

    def _read_server(self, argument: str) -> None:
        service = self.service or {}
        protocol, port = service.get("protocol", "tcp"), service.get("port", 0)
        illegal = "illegal real server address[:port] specified"
        self.server = _endpoint(argument, protocol, port, illegal)


def _endpoint(text: str, protocol: str, port: int, illegal: str) -> tuple[str, int]:
    try:
        return parse_service(text, protocol, port)
    except UsageError as error:
        raise CommandLineError(f"{illegal}: {error}") from None


def _family(address: str) -> int:
    return 6 if ":" in address else 4


# --- values ---------------------------------------------------------------------------------


def _within(text: str, low: int, high: int, illegal: str) -> int:
    number = whole(text, low, high)
    if number is None:
        raise CommandLineError(illegal)
    return number


def timeout(text: str, least: int = 1) -> int:
    """Return a timeout in seconds. Raise CommandLineError."""
    return _within(text, least, keys.MAX_S, f"invalid timeout value `{text}' specified")


def _seconds(text: str | None) -> int:
    return PERSISTENCE_S if text is None else timeout(text)


def _weight(text: str | None) -> int:
    illegal = "illegal weight specified"
    weight = _within(text or "", 0, keys.MAX_INT, illegal)
    if weight > MAX_WEIGHT:
        raise CommandLineError(f"{illegal}: lvsd takes up to {MAX_WEIGHT}")
    return weight


def _number(low: int, high: int, illegal: str) -> Callable[[str | None], int]:
    return lambda text: _within(text or "", low, high, f"illegal {illegal} specified")


def _choice(known: Sequence[str], illegal: str) -> Callable[[str | None], str]:
    def read(text: str | None) -> str:
        if text is None or text not in known:
            raise CommandLineError(f"illegal {illegal} specified")
        return text

    return read


def _addresses(text: str | None) -> list[str]:
    try:
        return [parse_address(each) for each in (text or "").split(",")]
    except UsageError as error:
        raise CommandLineError(f"illegal local address specified: {error}") from None


def _ports(text: str | None) -> list[int]:
    low, _, high = (text or "").partition("-")
    read = _number(1, 0xFFFF, "range of local ports")
    return [read(low), read(high)]


def _reader(key: Key) -> Callable[[str | None], object]:
    """Return what reads the argument of an option of lvsd's own."""
    match key.kind:
        case Kind.NUMBER:
            return _number(1, key.allowed[-1], key.option)
        case Kind.SECONDS:
            return _seconds
        case Kind.SWITCH:
            return lambda _: True
        case Kind.CHOICE:
            return _choice(key.allowed, key.option)
        case Kind.ADDRESSES:
            return _addresses
        case Kind.PORTS:
            return _ports
    return lambda text: text


_READERS: Final[dict[str, Callable[[str | None], object]]] = {
    "persistent": _seconds,
    "weight": _weight,
    "u-threshold": _number(0, keys.MAX_INT, "u_threshold"),
    "l-threshold": _number(0, keys.MAX_INT, "l_threshold"),
    "tun-type": _choice([*_OF_TUNNEL], "tunnel type"),
    "tun-port": _number(1, 0xFFFF, "tunnel port"),
    **{each.option: _reader(each) for each in (*keys.OF_LVSD, *keys.FULLNAT)},
}


def flags(said: Said) -> list[str]:
    """Return the scheduler's flags. Raise CommandLineError for what the scheduler has not."""
    given = said.values.get("sched-flags") or ""
    scheduler = said.values.get("scheduler") or "wlc"
    named = [flag for flag in given.split(",") if flag]
    if scheduler not in _OF_IPVSADM:
        return named
    for flag in named:
        if flag not in _FLAG_OF and flag not in _NUMBERED:
            raise CommandLineError(f"invalid scheduler flag `{flag}'")
        if _FLAG_OF.get(flag, scheduler) != scheduler:
            raise CommandLineError(f"incompatible scheduler flag `{flag}'")
    names = _FLAGS.get(scheduler)
    if names is None:
        return named
    own = {names.get(flag, flag) for flag in named}
    return sorted(own & {*names.values()})  # a third one nobody would see, nor does it do anything


# --- changes --------------------------------------------------------------------------------


def service_change(command: str, said: Said) -> Change:
    """Return what adds or edits the service that was described. Raise CommandLineError."""
    values, selector = said.values, dict(said.service or {})
    is_marked = "fwmark" in selector
    seconds, one_packet = values.get("persistent", 0), "ops" in values
    length = _netmask(said)
    if not (is_marked or selector["port"] or seconds):
        raise CommandLineError("Zero port specified for non-persistent service")
    if one_packet and not is_marked and selector["protocol"] != "udp":
        raise CommandLineError("One-Packet Scheduling is only for UDP virtual services")
    if "pe" in values:
        text = f"Scheduler or persistence engine not found: lvsd has no engine {values['pe']}"
        raise CommandLineError(text, REFUSED)
    service = selector | {
        "scheduler": values.get("scheduler") or "wlc",
        "flags": flags(said),
        "persistence_s": seconds,
        "one_packet": one_packet,
    }
    if seconds and length != FULL_LENGTHS[said.family]:
        service["prefix"] = length
    service |= {each.word: values[each.option] for each in keys.OF_LVSD if each.option in values}
    return {"command": command, "service": service}


def _netmask(said: Said) -> int:
    text = said.values.get("netmask")
    if text is None:
        return FULL_LENGTHS[said.family]
    try:
        return parse_netmask(text, said.family)
    except UsageError as error:
        raise CommandLineError(str(error)) from None


def server_change(command: str, said: Said) -> Change:
    """Return what adds or edits the real server that was described. Raise CommandLineError."""
    values, selector = said.values, said.service or {}
    address, port = said.server or ("", 0)
    forward = values.get(FORWARD, "dr")
    if forward in _ONE_PORT and "fwmark" not in selector:
        port = selector.get("port", 0)
    if _family(address) != said.family and forward != "tun":
        raise CommandLineError("Different address family is allowed only for tunneling servers")
    server = {
        "address": address,
        "port": port,
        "forward": forward,
        **{each.word: values.get(each.option, each.default) for each in keys.SERVER},
        **_tunnel(values, forward),
    }
    for each in keys.FULLNAT:
        if each.option in values:
            if forward != "fullnat":
                raise CommandLineError(f"'{each.option}' is of --fullnat, and of no other method")
            server[each.word] = values[each.option]
    return {"command": command, "service": dict(selector), "server": server}


def _tunnel(values: dict[str, Any], forward: str) -> dict[str, object]:
    """Return what a server's tunnel is like, if it is reached by one."""
    given = [option for option in _TUNNEL_OPTIONS if option in values]
    if forward != "tun":
        if given or "tun-type" in values:
            raise CommandLineError("Tunnel options conflict with forward method")
        return {}
    kind = values.get("tun-type", "ipip")
    for message in _misfits(kind, given):
        raise CommandLineError(message)
    tunnel: dict[str, object] = {"tunnel": kind}
    if kind == "gue":
        tunnel["tunnel_port"] = values["tun-port"]
    # On the wire, remote checksum offload is a checksum: the queue hands over finished ones.
    if "tun-csum" in given or "tun-remcsum" in given:
        tunnel["tunnel_checksum"] = True
    return tunnel


def _misfits(kind: str, given: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the options of a kind of tunnel, as ipvsadm finds it."""
    if kind == "gue" and "tun-port" not in given:
        yield "You need to supply the 'tun-port' option for the 'gue' tunnel type"
    for place, option in enumerate(given):
        if option not in _OF_TUNNEL[kind]:
            yield f"Illegal '{option}' option with the '{kind}' tunnel type"
        for other in given[:place]:
            if option in _CHECKSUMS and other in _CHECKSUMS:
                yield (
                    f"The option '{option}' conflicts with the '{other}' option"
                    f" in the '{kind}' tunnel type"
                )


def removal(command: str, said: Said) -> Change:
    """Return what removes the service, or the real server, that was named."""
    change: Change = {"command": command, "service": dict(said.service or {})}
    if said.server is not None:
        change["server"] = dict(zip(("address", "port"), said.server, strict=True))
    return change
