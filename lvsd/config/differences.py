"""In what two documents of `lvsd.documents` differ, in lines that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lvsd.printable import printable, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lvsd.config.document import Table

LIVE: Final = {
    "daemon": ("hold_s", "max_connections", "log_level"),
    "sysctl": (
        *("expire_nodest_conn", "expire_quiescent_template", "conn_reuse_mode"),
        *("sloppy_tcp", "sloppy_sctp", "forwarding", "reserve_local_ports"),
    ),
}
"""What can be changed while lvsd runs, of tables that have other keys, too."""

TAKEN_BACK_AT_THE_END: Final = {"sysctl": ("forwarding", "reserve_local_ports")}
"""Switches of which only switching on does anything while lvsd runs."""


class Difference(NamedTuple):
    """One thing that differs.

    ``service`` and ``server`` are empty where it is no service's or server's, and ``key`` where
    a whole service or server came or went. ``before`` and ``after`` are None for what is not there.
    """

    table: str
    service: str
    server: str
    key: str
    before: Any
    after: Any
    place: str = ""
    """Where the service is, if another one has its name."""

    @property
    def what(self) -> str:
        """What happened: ``changed``, ``added`` or ``removed``."""
        if self.key:
            return "changed"
        return "added" if self.before is None else "removed"

    @property
    def needs_restart(self) -> bool:
        """Whether it is so only after lvsd was started anew."""
        if self.key not in LIVE.get(self.table, (self.key,)):
            return True
        return self.after is False and self.key in TAKEN_BACK_AT_THE_END.get(self.table, ())

    @property
    def text(self) -> str:
        """The line."""
        where = [f"service {self.service}" if self.service else f"[{self.table}]"]
        if self.place:
            where = [f"{where[0]} ({self.place})"]
        if self.server:
            where.append(f"server {self.server}")
        if self.key:
            how = f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"
        else:
            how = self.what
        line = ": ".join([*where, how])
        return printable(f"{line} (needs a restart)" if self.needs_restart else line)

    def as_json(self) -> dict[str, object]:
        """Return what programs are told."""
        found = {"what": self.what, "table": self.table, "service": self.service}
        found |= {"server": self.server, "key": self.key}
        found |= {"before": self.before, "after": self.after, "text": self.text}
        return {**found, "needs_restart": self.needs_restart}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield in what a document differs from the one before, in its own order; what is gone last."""
    for table in (each for each in after if each != "service"):
        yield from _of_keys(before.get(table, {}), after[table], table)
    was, there = (_by(_identity, each.get("service", ())) for each in (before, after))
    bearers: dict[str, set[Any]] = {}
    for identity, service in (*was.items(), *there.items()):
        bearers.setdefault(service["name"], set()).add(identity)
    for identity in {**there, **was}:
        for each in _of_services(was.get(identity), there.get(identity)):
            is_double = len(bearers[each.service]) > 1
            yield each._replace(place=_place(identity)) if is_double else each


def _of_services(before: Table | None, after: Table | None) -> Iterator[Difference]:
    """Yield in what a service differs; None where there is none."""
    if after is None and before is not None:
        yield Difference("service", before["name"], "", "", _alone(before), None)
    elif before is None and after is not None:
        name = after["name"]
        yield Difference("service", name, "", "", None, _alone(after))
        for server in after.get("server", ()):
            yield Difference("service", name, server["address"], "", None, server)
    elif before is not None and after is not None:
        yield from _of_service(before, after)


def _of_service(before: Table, after: Table) -> Iterator[Difference]:
    name = after["name"]
    yield from _of_keys(_alone(before), _alone(after), "service", name)
    was, there = (_by(_address, each.get("server", ())) for each in (before, after))
    for address, server in there.items():
        if address in was:
            yield from _of_keys(was[address], server, "service", name, address)
        else:
            yield Difference("service", name, address, "", None, server)
    for address, server in was.items():
        if address not in there:
            yield Difference("service", name, address, "", server, None)


def _of_keys(
    before: Table, after: Table, table: str, service: str = "", server: str = ""
) -> Iterator[Difference]:
    before, after = _flat(before), _flat(after)
    for key in dict.fromkeys([*after, *before]):
        was, there = before.get(key), after.get(key)
        if was != there:
            yield Difference(table, service, server, key, was, there)


def _flat(table: Table) -> Table:
    """Return a table with the keys of those within it, ``check.path``, in place of these."""
    found: Table = {}
    for word, value in table.items():
        if isinstance(value, dict):
            found |= {f"{word}.{inner}": each for inner, each in value.items()}
        else:
            found[word] = value
    return found


def _alone(service: Table) -> Table:
    """Return what a service has but its servers."""
    return {word: value for word, value in service.items() if word != "server"}


def _identity(service: Table) -> tuple[Any, ...]:
    return tuple(service.get(word) for word in ("address", "protocol", "fwmark", "family"))


def _place(identity: tuple[Any, ...]) -> str:
    """Return what tells a service from others of its name."""
    address, protocol, mark, family = identity
    return f"mark {mark} IPv{family or 4}" if mark else f"{protocol} {address}"


def _address(server: Table) -> str:
    address: str = server["address"]
    return address


def _by(what: Callable[[Table], Any], tables: Iterable[Table]) -> dict[Any, Table]:
    return {what(each): each for each in tables}


def _shown(value: object) -> str:
    return "none" if value is None else to_json(value)
