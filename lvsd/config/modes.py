"""What each way of forwarding asks of a service and its servers, and which keys are its own.

The rules read the document as it stands, as those of ``rules`` do. A service without servers is
judged as if it had one that says nothing itself.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, get_args

from forwarders import FORWARDERS
from forwarders.plan import TunnelKind
from lvsd.config import fields
from lvsd.config.document import ServerTable, endpoint_of, family_of, repeated, word_of
from lvsd.config.faults import Fault, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.config.document import Table
    from lvsd.config.faults import Key
    from lvsd.config.fields import Endpoint

DEFAULT_MODE = "nat"
DEFAULT_TUNNEL = "ipip"
TUNNELS = get_args(TunnelKind)

KEYS = {
    "tunnel": ("tun",),
    "tunnel_port": ("tun",),
    "tunnel_checksum": ("tun",),
    "mss_clamp": ("tun",),
    "local_addresses": ("fullnat",),
    "local_ports": ("fullnat",),
    "client_address": ("fullnat",),
    "toa_kind": ("fullnat",),
    "udp_answered_timeout_s": ("nat", "fullnat"),
}
"""The modes that a key means anything to; all others mean something to every mode."""

_OWN = frozenset({"forward", *KEYS})
"""What a server may say of its own way; most servers say nothing."""

PORT_STAYS = frozenset({"dr", "tun"})
"""Where a packet reaches the server with the port that it has."""

KINDS = {"tunnel_port": ("gue",), "tunnel_checksum": ("gue", "gre")}
"""The kinds of tunnel that a tunnel's option belongs to, as with ipvsadm."""


class Member(NamedTuple):
    """A server's table with its key; ``mode`` and ``tunnel`` are its own or the service's.

    Both are None where the word is none that is known, ``endpoint`` where it is none.
    """

    key: Key
    table: Table
    endpoint: Endpoint | None
    mode: str | None
    tunnel: str | None


def faults(key: Key, service: Table, servers: Sequence[ServerTable]) -> Iterator[Fault]:
    """Yield what is wrong between a service, its servers, and the ways they are forwarded."""
    whole = _member(service, ServerTable(key, {}, None))
    mode, tunnel = whole.mode, whole.tunnel
    members = [
        Member(at, table, endpoint, mode, tunnel)
        if _OWN.isdisjoint(table)
        else _member(service, ServerTable(at, table, endpoint))
        for at, table, endpoint in servers
    ] or [whole]
    yield from _foreign_keys(key, service, members)
    tunnels = [each for each in members if each.mode == "tun"]
    if tunnels:
        yield from _tunnels(key, service, tunnels)
    yield from _clamp(key, service)
    family, virtual = family_of(service), endpoint_of(service)
    for each in members:
        if each.endpoint:
            if each.endpoint.family != family:
                yield from _family(family, each, each.endpoint)
            if each.mode in PORT_STAYS and virtual:
                yield from _port(virtual.port, each, each.endpoint)
    fullnat = [each for each in members if each.mode == "fullnat"]
    if fullnat:
        yield from _fullnat(key, service, fullnat)
        yield from _local_addresses(key, service, servers)


def _member(service: Table, server: ServerTable) -> Member:
    said = {**service, **server.table}
    return Member(
        *server,
        mode=word_of(said, "forward", FORWARDERS, DEFAULT_MODE),
        tunnel=word_of(said, "tunnel", TUNNELS, DEFAULT_TUNNEL),
    )


def _foreign_keys(key: Key, service: Table, members: Sequence[Member]) -> Iterator[Fault]:
    """Want keys of a mode only where a server has that mode."""
    used = {each.mode for each in members}
    for word in (word for word in KEYS if word in service):
        modes = KEYS[word]
        expected = " or ".join(modes)
        if not used & {*modes, None}:
            text = f"set, but no server is forwarded by {expected}, expected only with one that is"
            yield Fault((*key, word), text)
    for each in members:
        if _OWN.isdisjoint(each.table):
            continue
        for word in (word for word in each.table if word in KEYS):
            modes = KEYS[word]
            if each.mode not in {*modes, None}:
                expected = " or ".join(modes)
                text = f"set with forward = {shown(each.mode)}, expected only with {expected}"
                yield Fault((*each.key, word), text)


def _tunnels(key: Key, service: Table, tunnels: Sequence[Member]) -> Iterator[Fault]:
    """Want a port with GUE, and options of a tunnel only with the kinds that have them."""
    portless = [
        each.key if "tunnel" in each.table else key
        for each in tunnels
        if each.tunnel == "gue" and "tunnel_port" not in {**service, **each.table}
    ]
    for home in dict.fromkeys(portless):
        at = *home, "tunnel_port"
        yield Fault(at, 'missing, expected with tunnel = "gue" the UDP port that it goes to')
    used = {each.tunnel for each in tunnels}
    for word, kinds in KINDS.items():
        expected = " or ".join(map(shown, kinds))
        if word in service and used and not used & {*kinds, None}:
            text = f"set, but no server has tunnel = {expected}, expected only with one that has"
            yield Fault((*key, word), text)
        for each in tunnels:
            if word in each.table and each.tunnel not in {*kinds, None}:
                text = f"set with tunnel = {shown(each.tunnel)}, expected only with {expected}"
                yield Fault((*each.key, word), text)


def _clamp(key: Key, service: Table) -> Iterator[Fault]:
    """Want the clamp only where there may be TCP."""
    protocol = word_of(service, "protocol", ("udp", "sctp"))
    if service.get("mss_clamp") is True and protocol:
        text = f"true with protocol {shown(protocol)}, expected only with tcp or a fwmark"
        yield Fault((*key, "mss_clamp"), text)


def _family(family: int | None, server: Member, endpoint: Endpoint) -> Iterator[Fault]:
    """Want a server of the service's family, unless a tunnel leads to it."""
    if not family or server.mode in {"tun", None}:
        return
    yield Fault(
        (*server.key, "address"),
        f"{shown(str(endpoint))} is IPv{endpoint.family}, "
        f"expected IPv{family} as its service: {server.mode} keeps the family",
    )


def _port(port: int, server: Member, endpoint: Endpoint) -> Iterator[Fault]:
    """Want the service's port where a packet reaches the server with the one that it has.

    A mark's packets have many ports; one of its server does nothing, and lvsadm takes it.
    """
    if endpoint.port != port:
        text = f"{shown(str(endpoint))} has port {endpoint.port}, expected {port} as its service"
        yield Fault((*server.key, "address"), f"{text}: {server.mode} changes no port")


def _fullnat(key: Key, service: Table, members: Sequence[Member]) -> Iterator[Fault]:
    """Want a protocol that FULLNAT can carry, and connections that bring replies back."""
    if service.get("protocol") == "sctp":
        homes = [each.key if "forward" in each.table else key for each in members]
        for home in dict.fromkeys(homes):
            at = *home, "forward"
            yield Fault(at, '"fullnat" with protocol "sctp", expected tcp, udp or a fwmark')
    if service.get("one_packet") is True:
        text = 'true with forward = "fullnat", expected false: replies need a connection'
        yield Fault((*key, "one_packet"), text)
    own = [(each.key, each.table) for each in members if each.key != key]
    for at, table in [(key, service), *own]:
        told = word_of({**service, **table}, "client_address", ("proxy-v2", "none"))
        if "toa_kind" in table and told:
            text = f'set with client_address = {shown(told)}, expected only with "toa"'
            yield Fault((*at, "toa_kind"), text)


def _local_addresses(key: Key, service: Table, servers: Sequence[ServerTable]) -> Iterator[Fault]:
    """Want addresses to send from: of the service's family, each once, and nobody else's."""
    at = (*key, "local_addresses")
    given = service.get("local_addresses")
    if not given:
        wrong = "missing" if given is None else "empty"
        if given is None or isinstance(given, list):
            yield Fault(at, f'{wrong}, expected with forward = "fullnat" {fields.ADDRESSES}')
        return
    if not isinstance(given, list):
        return
    family, virtual = family_of(service), endpoint_of(service)
    real = {each.endpoint.address for each in servers if each.endpoint}
    local = [((*at, index), _address(value)) for index, value in enumerate(given)]
    for place, address in local:
        if address is None:
            continue
        text = shown(str(ip_address(address)))
        version = 4 if len(address) == 4 else 6
        if family and version != family:
            fault = f"IPv{version}, expected IPv{family} as its service: fullnat keeps the family"
            yield Fault(place, f"{text} is {fault}")
        if virtual and address == virtual.address:
            yield Fault(place, f"{text} is the service's own address, expected another one")
        if address in real:
            yield Fault(place, f"{text} is a server's address, expected one of this host")
    yield from repeated("address", local)


def _address(value: object) -> bytes | None:
    """Return an address if it is a good one."""
    try:
        return fields.address(value)
    except ValueError:
        return None
