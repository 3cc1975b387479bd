"""A configuration as it stands in the file: tables of whatever was written, before any model.

Nothing here raises: a value that is wrong in itself is read as None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lvsd.config import fields
from lvsd.config.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator

    from lvsd.config.faults import Key
    from lvsd.config.fields import Endpoint

Table: TypeAlias = dict[str, Any]

DEFAULT_FAMILY = 4


class ServerTable(NamedTuple):
    """A server's table with its key, and its address and port if they are good ones."""

    key: Key
    table: Table
    endpoint: Endpoint | None


def tables(table: Table, at: Key, word: str) -> list[tuple[Key, Table]]:
    """Return the elements of an array of tables with their keys, whatever stands there."""
    items = table.get(word)
    if not isinstance(items, list):
        return []
    return [((*at, word, n), item) for n, item in enumerate(items) if isinstance(item, dict)]


def servers_of(service: Table, at: Key) -> list[ServerTable]:
    """Return a service's servers, whatever stands in them."""
    tables_of = tables(service, at, "server")
    return [ServerTable(key, table, endpoint_of(table)) for key, table in tables_of]


def word_of(table: Table, key: str, known: Collection[str], default: str = "") -> str | None:
    """Return the word that stands under a key, or the default; None if it is not a known one."""
    word = table.get(key, default)
    return word if isinstance(word, str) and word in known else None


def endpoint_of(table: Table) -> Endpoint | None:
    """Return a service's or server's address and port if they are good ones."""
    try:
        return fields.endpoint(table.get("address"))
    except ValueError:
        return None


def family_of(service: Table) -> int | None:
    """Return 4 or 6, or None when the service does not say which."""
    if "fwmark" in service:
        family = service.get("family", DEFAULT_FAMILY)
        return family if type(family) is int else None
    address = endpoint_of(service)
    return address.family if address else None


def repeated(what: str, items: Iterable[tuple[Key, Hashable | None]]) -> Iterator[Fault]:
    """Yield a fault for each value that stands there a second time; None is no value."""
    first: dict[Hashable, Key] = {}
    for key, value in items:
        if value is None or not isinstance(value, str | bytes | tuple):
            continue
        if value in first:
            text = f"the same {what} a second time, expected each once"
            yield Fault(key, text, first[value])
        else:
            first[value] = key
