"""What ``lvsadm top`` shows: a row per service, with those of its real servers below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lvsd.control.watching import label
from lvsd.packet.address import endpoint, pack
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lvsd.control.protocol import EvidenceEntry, ServerEntry, ServiceEntry

TITLES: Final = (
    *("Service, real server", "Weight", "State", "Active", "Inactive"),
    *("Conn/s", "Pkt/s in", "B/s in", "B/s out", "Seen"),
)

MOST: Final = 2000
"""Rows that are shown; a terminal has far fewer lines."""

_SEEN: Final = {"Masq", "FullNat"}
"""Labels of servers whose replies come by."""

SELECTOR: Final = ("protocol", "address", "port")


class Row(NamedTuple):
    """A line: ``key`` stays the same between refreshes, ``cells`` belong to `TITLES`.

    ``command`` names service and server in a request, and is empty for a service.
    """

    key: str
    cells: tuple[str, ...]
    name: str
    command: dict[str, Any]


def rows(services: Iterable[ServiceEntry], order: str) -> tuple[list[Row], int]:
    """Return the rows in an order of `ORDERS`, `MOST` of them, and how many there are in all."""
    by_servers, by_services = ORDERS[order]
    some: list[Row] = []
    count = 0
    for service in sorted(services, key=by_services):
        count += 1 + len(service["servers"])
        if len(some) < MOST:
            some += _of_service(service, by_servers)
    return some[:MOST], count


def _of_service(service: ServiceEntry, order: Callable[[ServerEntry], Any]) -> Iterator[Row]:
    what, servers = label(service), service["servers"]
    name = printable(f"{service['name']} ({what})" if service["name"] else what)
    counts = (str(sum(each[of] for each in servers)) for of in ("active", "inactive"))
    cells = (name, "", f"{service['scheduler']}", *counts, *_rates(service), "")
    yield Row(what, cells, name, {})
    selector = {word: service[word] for word in SELECTOR}
    if service["fwmark"]:
        selector = {"fwmark": service["fwmark"], "family": service["family"]}
    for server in sorted(servers, key=order):
        place = endpoint(pack(server["address"]), server["port"])
        yield Row(
            f"{what} {place}",
            (
                f"  {place} {server['label']}",
                _weight(server),
                _state(server),
                str(server["active"]),
                str(server["inactive"]),
                *_rates(server),
                _seen(server),
            ),
            f"{place} of {name}",
            {
                "service": selector,
                "server": {"address": server["address"], "port": server["port"]},
            },
        )


def _rates(entry: ServiceEntry | ServerEntry) -> tuple[str, ...]:
    rates = entry["rates"]
    return (
        short(rates["connections"]),
        short(rates["in_packets"]),
        short(rates["in_bytes"]),
        short(rates["out_bytes"]),
    )


def short(number: int) -> str:
    """Return a number in at most five characters or so: 999, 12.3K, 4.56M."""
    value, units = float(number), iter("KMGTPE")
    unit = ""
    while value >= 1000:
        value, unit = value / 1000, next(units)
    return f"{value:.3g}{unit}"


def _weight(server: ServerEntry) -> str:
    now = server["effective_weight"]
    return f"{server['weight']}" if now == server["weight"] else f"{now:g} of {server['weight']}"


def _state(server: ServerEntry) -> str:
    if drain := server["drain"]:
        if drain["empty"]:
            return "drained"
        left_s = drain["left_s"]
        return "draining" if left_s is None else f"draining, {left_s} s"
    if start := server["slow_start"]:
        return f"starting, {start['percent']} %"
    return "" if server["weight"] else "weight 0"


def _seen(server: ServerEntry) -> str:
    """Return what is wrong with a server, if anything is.

    Whether clients wait for one whose replies bypass the director nobody knows here.
    """
    evidence: EvidenceEntry = server["evidence"]
    if evidence["refused"]:
        return f"refused {evidence['refused']} at port {evidence['refused_port']}"
    if evidence["waiting"] and server["label"] in _SEEN:
        return f"{evidence['waiting']} wait for {evidence['waiting_s']} s"
    return f"{evidence['repeated']} SYNs repeated" if evidence["repeated"] else ""


def _connections(server: ServerEntry) -> int:
    return server["active"] + server["inactive"]


def _address(entry: ServiceEntry | ServerEntry) -> tuple[int, bytes, int]:
    packed = pack(entry["address"]) if entry["address"] else b""
    return len(packed), packed, entry["port"]


def _total(of: Callable[[ServerEntry], float]) -> Callable[[ServiceEntry], float]:
    return lambda service: -sum(map(of, service["servers"]))


def _by_number(
    of: Callable[[ServerEntry], float],
) -> tuple[Callable[[ServerEntry], Any], Callable[[ServiceEntry], Any]]:
    """Return an order of servers and one of services, the highest number first."""
    total = _total(of)
    return (
        lambda server: (-of(server), _address(server)),
        lambda service: (total(service), service["fwmark"], _address(service)),
    )


ORDERS: Final[dict[str, tuple[Callable[[ServerEntry], Any], Callable[[ServiceEntry], Any]]]] = {
    "address": (
        _address,
        lambda service: (service["fwmark"], _address(service), service["protocol"]),
    ),
    "connections": _by_number(_connections),
    "rate": _by_number(lambda server: server["rates"]["connections"]),
    "bytes": _by_number(lambda server: server["rates"]["in_bytes"] + server["rates"]["out_bytes"]),
    "weight": _by_number(lambda server: server["effective_weight"]),
}
"""What rows may be ordered by -> the order of servers in a service, and of services."""
