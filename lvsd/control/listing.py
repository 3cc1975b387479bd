"""lvsadm's listings, to the character as ipvsadm 1.31 prints them.

Every function takes entries of the control protocol and yields lines without their newline.
"""

from __future__ import annotations

from functools import cmp_to_key
from ipaddress import IPv4Network
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct
from typing import TYPE_CHECKING

from lvsd.control.options import View

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lvsd.control.names import Names
    from lvsd.control.protocol import (
        ConnectionEntry,
        CounterEntry,
        ServerEntry,
        ServiceEntry,
        StatusEntry,
        TimeoutsEntry,
    )

BANNER = "IP Virtual Server version 1.2.1 (size=4096)"
"""What tools that parse ipvsadm expect to read first: the kernel's version and table size."""

SERVICE_WIDTH = 33
SERVER_WIDTH = 28
TUNNEL_WIDTH = 13
TUNNEL = "Tunnel"
"""The label of the forwarder `forwarders.Tun`, which would take half of lvsadm's time to load."""

_PROTOCOL_NUMBERS = {"ip": 0, "tcp": 6, "udp": 17, "sctp": 132}

_IPV4, _IPV6 = Struct("!I"), Struct("!4I")

_COUNTER_COLUMNS = "connections", "in_packets", "out_packets", "in_bytes", "out_bytes"
_UNITS = (
    (100_000_000, 1, ""),
    (1_000_000_000, 1_000, "K"),
    (100_000_000_000, 1_000_000, "M"),
    (100_000_000_000_000, 1_000_000_000, "G"),
)
"""Numbers below the first are divided by the second and marked with the third."""


# --- services -------------------------------------------------------------------------------


def services(
    entries: Iterable[ServiceEntry], view: View, names: Names, *, exact: bool
) -> Iterator[str]:
    """Yield the title, and each service with its real servers, in the order given."""
    yield from _title(view)
    for service in entries:
        yield _service_line(service, view, names, exact=exact)
        for server in service["servers"]:
            endpoint = names.cut(server["address"], server["port"], service["protocol"])
            if ":" not in server["address"]:
                endpoint = endpoint[:SERVER_WIDTH]
            columns = _server_columns(server, view, exact=exact)
            yield f"  -> {endpoint:<{SERVER_WIDTH}}{columns}"


def _title(view: View) -> tuple[str, str]:
    address, remote = f"{'Prot LocalAddress:Port':<33}", "  -> RemoteAddress:Port"
    match view:
        case View.STATS:
            return f"{address}    Conns   InPkts  OutPkts  InBytes OutBytes", remote
        case View.RATE:
            return f"{address}      CPS    InPPS   OutPPS    InBPS   OutBPS", remote
        case View.THRESHOLDS:
            return f"{address} Uthreshold Lthreshold ActiveConn InActConn ", remote
        case View.PERSISTENT:
            return f"{address} Weight    PersistConn ActiveConn InActConn ", remote
        case View.TUNNEL | View.PLAIN:
            tunnel = f"{'TunnelInfo':<{TUNNEL_WIDTH}} " if view is View.TUNNEL else ""
            return (
                "Prot LocalAddress:Port Scheduler Flags",
                f"{remote}           Forward {tunnel}Weight ActiveConn InActConn",
            )


def _service_line(service: ServiceEntry, view: View, names: Names, *, exact: bool) -> str:
    name = _service_name(service, names)
    match view:
        case View.STATS:
            return f"{name:<{SERVICE_WIDTH}}{_counters(service['stats'], exact=exact)}"
        case View.RATE:
            return f"{name:<{SERVICE_WIDTH}}{_counters(service['rates'], exact=exact)}"
        case _:
            return " ".join([name, service["scheduler"], *_flags(service)])


def _service_name(service: ServiceEntry, names: Names) -> str:
    if service["fwmark"]:
        return f"FWM  {service['fwmark']}" + (" IPv6" if service["family"] == 6 else "")
    endpoint = names.cut(service["address"], service["port"], service["protocol"])
    name = f"{service['protocol'].upper():<4} {endpoint}"
    return name if service["family"] == 6 else name[:SERVICE_WIDTH]


def _flags(service: ServiceEntry) -> Iterator[str]:
    if service["flags"]:
        yield f"({','.join(service['flags'])})"
    if service["persistence_s"]:
        yield f"persistent {service['persistence_s']}"
        prefix = service["prefix"]
        if prefix is not None and prefix != (128 if service["family"] == 6 else 32):
            is_ipv6 = service["family"] == 6
            yield f"mask {prefix if is_ipv6 else IPv4Network((0, prefix)).netmask}"
    if service["one_packet"]:
        yield "ops"


def _server_columns(server: ServerEntry, view: View, *, exact: bool) -> str:
    counts = f"{server['active']:<10} {server['inactive']:<10}"
    match view:
        case View.STATS:
            return _counters(server["stats"], exact=exact)
        case View.RATE:
            # The first three are never scaled for a real server, only for a service.
            rates = server["rates"]
            scaled = "".join(_number(rates[key], exact=exact) for key in ("in_bytes", "out_bytes"))
            plain = (rates[key] for key in ("connections", "in_packets", "out_packets"))
            return "".join(f" {rate:8}" for rate in plain) + scaled
        case View.THRESHOLDS:
            return f" {server['upper']:<10} {server['lower']:<10} {counts}"
        case View.PERSISTENT:
            return f" {server['weight']:<9} {server['templates']:<11} {counts}"
        case View.TUNNEL | View.PLAIN:
            tunnel = f"{_tunnel(server):<{TUNNEL_WIDTH}} " if view is View.TUNNEL else ""
            return f" {server['label']:<7} {tunnel}{server['weight']:<6} {counts}"


def _tunnel(server: ServerEntry) -> str:
    """Return a tunnel's kind and what options the kind has: ``ipip``, ``gue:6080:+c``, ``gre:-c``.

    The sign before c says whether there is a checksum.
    """
    kind = server["tunnel"]
    if not kind or server["label"] != TUNNEL:
        return "n/a"
    checksum = "+c" if server["tunnel_checksum"] else "-c"
    match kind:
        case "gue":
            return f"{kind}:{server['tunnel_port']}:{checksum}"
        case "gre":
            return f"{kind}:{checksum}"
        case _:
            return kind


def _counters(values: CounterEntry, *, exact: bool) -> str:
    return "".join(_number(values[key], exact=exact) for key in _COUNTER_COLUMNS)  # type: ignore[literal-required]  # they are its keys


def _number(value: int, *, exact: bool) -> str:
    """Return a number nine wide: scaled, or in full and, from nine digits, one space before it."""
    if exact:
        return f"{value:9}" if value < 10**8 else f" {value}"
    for limit, unit, letter in _UNITS:
        if value < limit:
            return f"{str(value // unit) + letter:>9}"
    return f"{value // 10**12:>8}T"


# --- order ----------------------------------------------------------------------------------


def in_order(entries: Iterable[ServiceEntry]) -> list[ServiceEntry]:
    """Sort services and their real servers as ipvsadm does.

    Services go by fwmark, family, protocol, address and port, servers by address and port.
    Addresses compare by the sign of their 32-bit difference, which wraps: 192.0.2.1 comes
    before 10.0.0.1 (libipvs, ipvs_cmp_services).
    """
    ordered = sorted(entries, key=lambda each: _by_rank(_service_rank(each)))
    for service in ordered:
        service["servers"].sort(key=lambda each: _by_rank(_server_rank(each)))
    return ordered


def _service_rank(service: ServiceEntry) -> tuple[int, ...]:
    protocol = _PROTOCOL_NUMBERS[service["protocol"]]
    words = _words(service["address"]) if service["address"] else ()
    return service["fwmark"], service["family"], protocol, *words, service["port"]


def _server_rank(server: ServerEntry) -> tuple[int, ...]:
    return *_words(server["address"]), server["port"]


def _words(address: str) -> tuple[int, ...]:
    if ":" in address:
        return _IPV6.unpack(inet_pton(AF_INET6, address))
    return _IPV4.unpack(inet_pton(AF_INET, address))


def _compare(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Compare ranks by the first two numbers that differ."""
    for number, another in zip(one, other, strict=False):
        if number != another:
            return _wrapped(number - another)
    return 0


_by_rank = cmp_to_key(_compare)


def _wrapped(difference: int) -> int:
    """Return a difference as a signed 32-bit integer holds it."""
    return (difference + 2**31) % 2**32 - 2**31


# --- the rest -------------------------------------------------------------------------------


def connections(
    entries: Iterable[ConnectionEntry], names: Names, *, with_engine: bool
) -> Iterator[str]:
    """Yield the title and a line per connection; ``with_engine`` titles two more columns."""
    yield "IPVS connection entries"
    title = "pro expire state       source             virtual            destination"
    yield f"{title}        pe name          pe_data" if with_engine else title
    endpoint = names.cut
    for entry in entries:
        protocol = entry["protocol"]
        minutes, seconds = divmod(entry["expires_s"], 60)
        expires = f"{minutes:02}:{seconds:02}"
        client = endpoint(entry["client"], entry["client_port"], protocol)
        virtual = endpoint(entry["virtual"], entry["virtual_port"], protocol)
        server = endpoint(entry["server"], entry["server_port"], protocol)
        yield (
            f"{protocol.upper():<3} {expires:<6} {entry['state']:<11}"
            f" {client:<18} {virtual:<18} {server}"
        )


def timeouts(entry: TimeoutsEntry) -> str:
    """Return the line of ``--timeout``."""
    return f"Timeout (tcp tcpfin udp): {entry['tcp_s']} {entry['tcp_fin_s']} {entry['udp_s']}"


def status(entry: StatusEntry) -> Iterator[str]:
    """Yield what ``--status`` prints: ours, ipvsadm has nothing like it."""
    yield f"lvsd {entry['version']}, up {entry['uptime_s']} s, {entry['services']} services"
    groups: dict[str, Mapping[str, int | str]] = {
        "counters": entry["counters"],
        "drops": entry["drops"],
        **entry["groups"],
    }
    for title, values in groups.items():
        yield f"{title}:"
        for name, value in sorted(values.items()):
            yield f"  {name:<24} {value}"
