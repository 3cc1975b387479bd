"""A document as a configuration file: the other way round from `lvsd.config.load`.

The document has every server's way of forwarding with the server. In the file the way that most
servers of a service have stands with the service, as people write it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from lvsd.config import fields
from lvsd.config.modes import DEFAULT_MODE
from lvsd.printable import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvsd.config.document import Table

WAY: Final = (
    "forward", "tunnel", "tunnel_port", "tunnel_checksum", "client_address", "toa_kind",
)  # fmt: skip
"""The keys that say how a server is forwarded to, of a server and of a service."""

_FIRST: Final = ("name", "address", "fwmark", "family", "protocol", "scheduler", "scheduler_flags")
"""What a service begins with; what else it has follows its way of forwarding."""

_NEEDS: Final = {"local_addresses": "fullnat", "local_ports": "fullnat", "mss_clamp": "tun"}
"""Keys of a service that only one way of forwarding has."""


def text(document: Mapping[str, Any]) -> str:
    """Return the file that holds a document of `lvsd.documents`."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    for name, table in document.items():
        if name != "service":
            yield f"[{name}]"
            yield from _pairs(table)
            yield ""
    taken: set[str] = set()
    for service in document.get("service", ()):
        yield from _service(service, _name(service, taken))
        yield ""


def _service(service: Table, name: str) -> Iterator[str]:
    servers = service.get("server", ())
    ways = Counter(_Way(each) for each in servers)
    usual = ways.most_common(1)[0][0] if ways else _Way({"forward": _way_of_none(service)})
    yield "[[service]]"
    yield from _pairs({"name": name})
    yield from _pairs({word: service[word] for word in _FIRST[1:] if word in service})
    yield from _pairs(usual.table)
    rest = {*_FIRST, *WAY, "server", "check"}
    yield from _pairs({word: value for word, value in service.items() if word not in rest})
    yield from _check(service, "service", "  ")
    for server in servers:
        yield ""
        yield "  [[service.server]]"
        own = {word: value for word, value in server.items() if word not in {*WAY, "check"}}
        way = _Way(server)
        yield from _pairs(own if way == usual else own | way.table, "  ")
        yield from _check(server, "service.server", "    ")


def _check(table: Table, name: str, before: str) -> Iterator[str]:
    """Yield the table that says how servers are checked, if there is one."""
    if "check" in table:
        yield ""
        yield f"{before}[{name}.check]"
        yield from _pairs(table["check"], before)


class _Way:
    """How a server is forwarded to, as a key of a dict."""

    def __init__(self, server: Table) -> None:
        self.table: Table = {word: server[word] for word in WAY if word in server}
        self._items = frozenset(self.table.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Way) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)


def _way_of_none(service: Table) -> str:
    """Return how a service without servers forwards: as its other keys need it."""
    needed = (way for word, way in _NEEDS.items() if word in service)
    said: str = next(needed, None) or service.get("forward", DEFAULT_MODE)
    return said


def _name(service: Table, taken: set[str]) -> str:
    """Return a name that a configuration may have, and no other service has."""
    number = 1
    own = name = service["name"] if _is_name(service["name"]) else default_name(service)
    while name in taken:
        number += 1
        end = f" {number}"
        name = own[: fields.MAX_NAME - len(end)].rstrip() + end
    taken.add(name)
    return name


def _is_name(word: str) -> bool:
    try:
        fields.name(word)
    except ValueError:
        return False
    return True


def default_name(service: Table) -> str:
    """Return what a service is called that nobody has named."""
    if "fwmark" in service:
        family = " IPv6" if service.get("family") == 6 else ""
        return f"mark {service['fwmark']}{family}"
    return f"{service['protocol']} {service['address']}"


def _pairs(table: Mapping[str, Any], before: str = "") -> Iterator[str]:
    # JSON of strings, whole numbers, truth values and lists of strings is TOML.
    for word, value in table.items():
        yield f"{before}{word} = {to_json(value)}"
