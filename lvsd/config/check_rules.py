"""What the keys of a check must satisfy, its own included; and what goes with being checked.

The rules read the document as it stands in the file, as those in ``rules`` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvsd.config.check_tables import ServerCheck, ServiceCheck
from lvsd.config.checks import NONE
from lvsd.config.faults import Fault, unknown, unknown_key
from lvsd.config.options import value_of
from lvsd.config.shape import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.config.document import ServerTable, Table
    from lvsd.config.faults import Key
    from lvsd.health.base import Check

_SERVICE_ONLY = fields_of(ServiceCheck).keys() - fields_of(ServerCheck).keys()
_INTERVAL_S, _TIMEOUT_S = 2.0, 1.0


def faults(key: Key, service: Table, servers: Sequence[ServerTable]) -> Iterator[Fault]:
    """Yield what is wrong with a service's checks and sorry servers."""
    usual = service.get("check")
    if usual is None:
        yield from _unchecked(servers)
        return
    if not isinstance(usual, dict):
        return
    at = (*key, "check")
    if "type" not in usual:
        yield Fault((*at, "type"), "missing, expected the name of a check such as tcp")
    if usual.get("type") == NONE:
        text = '"none" is for single servers, expected no [service.check] to check none'
        yield Fault((*at, "type"), text)
    else:
        yield from _one(at, usual, usual, "service.check")
    yield from _timeout(at, usual, usual)
    for server_at, server, endpoint in servers:
        own = server.get("check", {})
        if not isinstance(own, dict):
            continue
        if "check" in server:
            yield from _server((*server_at, "check"), usual, own)
        needs = _needs_port({**usual, **own})
        if needs and endpoint and not endpoint.port and not {"port"} & {*usual, *own}:
            text = f"missing, expected a port for check {needs}: the server has none (0)"
            yield Fault((*server_at, "check", "port"), text)


def _unchecked(servers: Sequence[ServerTable]) -> Iterator[Fault]:
    for at, server, _ in servers:
        if server.get("backup") is True:
            text = "true without [service.check], expected one: no server is ever found down"
            yield Fault((*at, "backup"), text)
        if "check" in server:
            yield Fault((*at, "check"), "set without [service.check], expected one to override")


def _server(at: Key, usual: Table, own: Table) -> Iterator[Fault]:
    if own.get("type") == NONE:
        for word in own.keys() - {"type"} - _SERVICE_ONLY:
            yield Fault((*at, word), 'set with type "none", expected no other key')
    else:
        is_same = own.get("type", usual.get("type")) == usual.get("type")
        whole = {**usual, **own} if is_same else own
        yield from _one(at, {"type": usual.get("type"), **whole}, own, "service.server.check")
    for word in sorted(own.keys() & _SERVICE_ONLY):
        yield Fault((*at, word), "set for a server, expected in [service.check]")
    if own.keys() & {"interval_s", "timeout_s"}:
        yield from _timeout(at, {**usual, **own}, own)


def _one(at: Key, whole: Table, said: Table, name: str) -> Iterator[Fault]:
    """Want the type to be a check's that works, and the check's own keys to be right."""
    word = whole.get("type")
    if not isinstance(word, str):
        return
    try:
        of_type = _load(word)
    except ValueError as error:
        if "type" in said:
            yield Fault((*at, "type"), str(error))
        return
    yield from _own(at, whole, said, f"{name} with type {word}", of_type)


def _own(at: Key, whole: Table, said: Table, table: str, of_type: type[Check]) -> Iterator[Fault]:
    """Want keys of the check's own to be known and right, and the check to take them together."""
    options = {option.word: option for option in of_type.options}
    common = fields_of(ServiceCheck)
    mine = fields_of(ServerCheck) if table.startswith("service.server.check") else common
    known = {table: [*mine, *options]}
    values: dict[str, Any] = {option.word: option.default for option in of_type.options}
    found = []
    for each, value in whole.items():
        if each in common or (each not in options and each not in said):
            continue
        if each not in options:
            found.append(unknown_key((*at, each), known, table))
            continue
        try:
            values[each] = value_of(options[each], value)
        except ValueError as error:
            found.append(Fault((*at, each), str(error)))
    found += [
        Fault((*at, option.word), f"missing, expected {option.expected}")
        for option in of_type.options
        if option.is_required and option.word not in whole
    ]
    # What the service's own table has wrong is told there.
    yield from (each for each in found if each.key[-1] in said or each.key[-1] not in whole)
    if not found and ("type" in said or said.keys() & options.keys()):
        yield from _made(at, of_type, values, said)


def _made(at: Key, of_type: type[Check], values: dict[str, Any], said: Table) -> Iterator[Fault]:
    """Want the check to be made of its values; blame the key that its error names first."""
    try:
        of_type(values)
    except (ValueError, OSError) as error:
        word = str(error).partition(" ")[0].rstrip(":")
        yield Fault((*at, word) if word in values and word in said else at, str(error))


def _timeout(at: Key, whole: Table, said: Table) -> Iterator[Fault]:
    """Want one probe of a server to end before the next begins."""
    interval_s = whole.get("interval_s", _INTERVAL_S)
    timeout_s = whole.get("timeout_s", _TIMEOUT_S)
    if {type(interval_s), type(timeout_s)} <= {int, float} and timeout_s > interval_s:
        word = "timeout_s" if "timeout_s" in said else "interval_s"
        text = f"timeout_s ({timeout_s:g}) is above interval_s ({interval_s:g})"
        yield Fault((*at, word), f"{text}, expected at most that")


def _needs_port(check: Table) -> str | None:
    """Return the type of a check if that needs a port."""
    word = check.get("type")
    if not isinstance(word, str) or word == NONE:
        return None
    try:
        return word if _load(word).needs_port else None
    except ValueError:
        return None


def _load(word: str) -> type[Check]:
    """Return the class of a check. Raise ValueError where there is none that works."""
    from lvsd.health import registry  # noqa: PLC0415 - most configurations have no check

    try:
        return registry.load(word)
    except registry.UnknownCheckError:
        raise ValueError(unknown(word, sorted(registry.names()))) from None
    except registry.BrokenCheckError as error:
        raise ValueError(f"{error}, expected a check that works") from error
