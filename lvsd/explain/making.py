"""Make a case to explain of what was asked for; the rest is as in ``lvsd lab``."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, get_args

import schedulers
from forwarders import FORWARDERS, Dr, Fullnat, Nat, Tun
from forwarders.fullnat import ClientAddress
from forwarders.plan import TunnelKind
from lvsd.config import fields
from lvsd.errors import PluginError, UsageError
from lvsd.explain import places
from lvsd.explain.case import Case, RealServer
from lvsd.explain.paper import BACK, FAR, PaperNetwork
from lvsd.packet.address import endpoint, pack, parse_endpoint, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.base import End, Forwarder
    from lvsd.explain.model import Host
    from schedulers.base import Scheduler

MODES: Final = tuple(FORWARDERS)
PROTOCOLS: Final = ("tcp", "udp")
TUNNELS: Final = get_args(TunnelKind)
CLIENT_ADDRESSES: Final = get_args(ClientAddress)

MOST_SERVERS: Final = 26
MOST_EARLIER: Final = 10_000
MOST_WEIGHT: Final = 65535
WEIGHTS: Final = (3, 2, 1)

GUE_PORT: Final = 6080
VIRTUAL_PORTS: Final = {"tcp": 80, "udp": 53}
MAPPED_PORTS: Final = {"tcp": 8080, "udp": 5353}
"""The real servers' ports where the mode can map them: not the virtual one, so that it is seen."""

CLIENT_PORT: Final = 40000
CLIENTS: Final = {4: "192.0.2.100", 6: "2001:db8:1::100"}
VIPS: Final = {4: "198.51.100.10", 6: "2001:db8:51::10"}
FIRST_SERVER: Final = 11
LOCAL: Final = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained, as people type it; what is not given is as in ``lvsd lab``.

    ``mode`` is nat, dr, tun or fullnat. ``vip``, ``client`` and ``servers`` are addresses that a
    configuration takes too, with a port or without. ``earlier`` is how many connections of other
    clients are open before.
    """

    mode: str = "nat"
    _: KW_ONLY
    protocol: str = "tcp"
    ipv6: bool | None = None
    vip: str | None = None
    client: str | None = None
    servers: Sequence[str] | None = None
    weights: Sequence[int] | None = None
    scheduler: str = "wlc"
    flags: Sequence[str] = ()
    earlier: int = 0
    tunnel: str = "ipip"
    mss_clamp: bool = False
    client_address: str = "toa"


def make(asked: Question) -> Case:
    """Return the case that a question is about.

    Raise UsageError, which says what does not fit, or PluginError for a broken scheduler of a third
    party.
    """
    mode, protocol = asked.mode, asked.protocol
    _one_of("mode", mode, MODES)
    _one_of("protocol", protocol, PROTOCOLS)
    _one_of("tunnel", asked.tunnel, TUNNELS)
    _one_of("client_address", asked.client_address, CLIENT_ADDRESSES)
    if not 0 <= asked.earlier <= MOST_EARLIER:
        raise UsageError(f"earlier connections are 0 to {MOST_EARLIER}, not {asked.earlier}")
    forwarder = _forwarder(asked)
    virtual = None if asked.vip is None else _end("vip", asked.vip, VIRTUAL_PORTS[protocol])
    source = None if asked.client is None else _end("client", asked.client, CLIENT_PORT)
    version = _version(virtual, source, ipv6=asked.ipv6)
    virtual = virtual or (pack(VIPS[version]), VIRTUAL_PORTS[protocol])
    source = source or (pack(CLIENTS[version]), CLIENT_PORT)
    port = MAPPED_PORTS[protocol] if forwarder.maps_port else virtual[1]
    real = _servers(asked, port, version)
    if not forwarder.maps_port:
        _check_ports(mode, real, virtual[1])
    if mode != "tun":
        _check_family(mode, real, version)
    if len({(server.address, server.port) for server in real}) < len(real):
        raise UsageError("two servers have one address and port, expected each once")
    case = Case(
        mode,
        "tcp" if protocol == "tcp" else "udp",
        virtual,
        source,
        real,
        _scheduler(asked.scheduler, asked.flags),
        forwarder,
        pack(BACK[4 if len(real[0].address) == 4 else 6].format(LOCAL)),
        asked.earlier,
        asked.mss_clamp,
    )
    _check_apart(PaperNetwork(case).hosts, text(virtual[0]))
    return case


def _one_of(what: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise UsageError(f"{what} {word!r} is not known, expected one of {', '.join(known)}")


def _forwarder(asked: Question) -> Forwarder:
    match asked.mode:
        case "dr":
            return Dr()
        case "tun":
            kind = next(kind for kind in TUNNELS if kind == asked.tunnel)
            return Tun(kind, GUE_PORT if kind == "gue" else 0)
        case "fullnat":
            return Fullnat(next(word for word in CLIENT_ADDRESSES if word == asked.client_address))
        case _:
            return Nat()


def _end(what: str, value: str, port: int) -> End:
    """Return the endpoint that a text names; without a port, it is ``port``."""
    if "%" in value:
        raise UsageError(f"{what}: {value!r} has a zone, expected an address without %")
    try:
        end = ip_address(value).packed, port
    except ValueError:
        try:
            end = parse_endpoint(value)
        except ValueError as error:
            raise UsageError(f"{what}: {error}") from None
    try:
        fields.address(text(end[0]))
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
    if not end[1]:
        raise UsageError(f"{what}: {value!r} has port 0, expected 1 to 65535")
    return end


def _version(*ends: End | None, ipv6: bool | None) -> int:
    """Return the IP version that all ends have."""
    found = {4 if len(end[0]) == 4 else 6 for end in ends if end}
    if ipv6 is not None:
        found.add(6 if ipv6 else 4)
    if len(found) > 1:
        raise UsageError("IPv4 and IPv6 are mixed: the client and the VIP are of one family")
    return found.pop() if found else 4


def _servers(asked: Question, port: int, version: int) -> tuple[RealServer, ...]:
    """Return the real servers, with a weight each; ``port`` is that of those without one."""
    given, weights = asked.servers, asked.weights
    if given is not None and not given:
        raise UsageError("there is no server, expected one at least")
    if weights is not None and not weights:
        raise UsageError("there is no weight, expected one per server")
    if weights is None:
        weights = (1,) * len(given) if given else WEIGHTS
    if given is None:
        network = (FAR if asked.mode in places.FAR else BACK)[version]
        given = [network.format(FIRST_SERVER + index) for index in range(len(weights))]
    if len(weights) != len(given):
        raise UsageError(
            f"weights: {len(weights)} of them, servers: {len(given)}; expected a weight per server"
        )
    if len(given) > MOST_SERVERS:
        raise UsageError(f"{len(given)} servers, expected {MOST_SERVERS} at most")
    for weight in weights:
        if not 0 <= weight <= MOST_WEIGHT:
            raise UsageError(f"weight {weight} is not 0 to {MOST_WEIGHT}")
    ends = [_end("server", each, port) for each in given]
    return tuple(RealServer(*end, weight) for end, weight in zip(ends, weights, strict=True))


def _check_ports(mode: str, servers: Sequence[RealServer], port: int) -> None:
    for server in servers:
        if server.port != port:
            raise UsageError(
                f"server: {endpoint(server.address, server.port)} has another port than the VIP's "
                f"{port}: {mode} changes no port"
            )


def _check_family(mode: str, servers: Sequence[RealServer], version: int) -> None:
    for server in servers:
        if len(server.address) != (4 if version == 4 else 16):
            raise UsageError(
                f"server: {endpoint(server.address, None)} is not IPv{version} as the VIP: "
                f"{mode} keeps the family"
            )


def _check_apart(hosts: Sequence[Host], vip: str) -> None:
    """Refuse two hosts of one address; servers may differ in the port alone."""
    owners: dict[str, Host] = {}
    for host in hosts:
        for _, address, _ in host.interfaces:
            other = owners.setdefault(address, host)
            if other is not host and (other.role, host.role) != ("server", "server"):
                raise UsageError(
                    f"{other.name} and {host.name} both have {address}, expected one host of it"
                )
    if vip in owners and owners[vip].role != "director":
        raise UsageError(
            f"vip: {vip} is an address of {owners[vip].name}, expected one that nobody else has"
        )


def _scheduler(name: str, flags: Sequence[str]) -> Scheduler:
    try:
        return schedulers.load(name)(frozenset(flags))
    except (schedulers.UnknownSchedulerError, ValueError) as error:
        raise UsageError(str(error)) from None
    except schedulers.BrokenSchedulerError as error:
        raise PluginError(str(error)) from error
