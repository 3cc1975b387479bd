"""Services, real servers and changes as objects of the control protocol, and for the log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from lvsd import keys
from lvsd.control.protocol import PROTOCOL_NAMES
from lvsd.core.commands import (
    DrainChange,
    HealthChange,
    ServerChange,
    ServiceChange,
    SettingsChange,
    TimeoutsChange,
    Zeroed,
)
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from lvsd.core.commands import Change
    from lvsd.core.drains import Emptied
    from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey

TIMEOUTS: Final = ("tcp_s", "tcp_fin_s", "udp_s")
"""What ``set_timeouts`` sets, in the order of `lvsd.core.commands.SetTimeouts`."""


_told_service: Final = keys.telling(keys.SERVICE)
_told_server: Final = keys.telling(keys.SERVER)


def selector(key: ServiceKey) -> dict[str, object]:
    """Return the object that names a service."""
    if key.fwmark:
        return {"fwmark": key.fwmark, "family": key.family}
    return {"protocol": PROTOCOL_NAMES[key.protocol], "address": text(key.vip), "port": key.vport}


def written_service(config: ServiceConfig) -> dict[str, object]:
    """Return the object of a service, with all that a request may say of it."""
    return selector(config.key) | _told_service(config) | {"prefix": config.prefix or 0}


def written_server(config: ServerConfig) -> dict[str, object]:
    """Return the object of a real server, with all that a request may say of it."""
    forwarder = config.forwarder
    of_way = {each.word: each.of(forwarder) for each in keys.FORWARDING.get(forwarder.name, ())}
    if not of_way.get("tunnel_port"):
        of_way.pop("tunnel_port", None)
    return {
        "address": text(config.address),
        "port": config.port,
        "forward": forwarder.name,
        **_told_server(config),
        **of_way,
    }


def written_change(change: Change) -> dict[str, object]:
    """Return the object that describes a change: its subject, before and after."""
    match change:
        case ServiceChange(key, before, after):
            return {"change": _kind("service", before, after), "service": selector(key)} | _both(
                before and written_service(before), after and written_service(after)
            )
        case ServerChange(key, address, port, old, new):
            return {
                "change": _kind("server", old, new),
                "service": selector(key),
                "server": {"address": text(address), "port": port},
            } | _both(old and written_server(old), new and written_server(new))
        case DrainChange(key, address, port, is_drained, deadline_s):
            return {
                "change": "server_drained" if is_drained else "server_undrained",
                "service": selector(key),
                "server": {"address": text(address), "port": port},
            } | ({} if deadline_s is None else {"deadline_s": deadline_s})
        case HealthChange(key, address, port, _, health):
            return {
                "change": "health",
                "service": selector(key),
                "server": {"address": text(address), "port": port},
                "health": health.value,
            }
        case TimeoutsChange(before, after):
            return {"change": "timeouts_edited", "before": [*before], "after": [*after]}
        case SettingsChange(old_settings, new_settings):
            return {"change": "settings_edited"} | _both(asdict(old_settings), asdict(new_settings))
        case Zeroed(key):
            return {"change": "zeroed"} | ({"service": selector(key)} if key else {})


def written_empty(server: Emptied) -> dict[str, object]:
    """Return the object that says that a drained server has no connections left."""
    return {
        "change": "server_empty",
        "service": selector(server.service),
        "server": {"address": text(server.address), "port": server.port},
        "cut": server.ended,
    }


def described_empty(server: Emptied) -> dict[str, object]:
    """Return the same in a few words for a log."""
    where = endpoint(server.address, server.port)
    return {"service": _label(server.service), "server": where, "cut": server.ended}


def described(change: Change) -> dict[str, object]:
    """Return a change in a few words for the log: its subject, and what is different."""
    match change:
        case ServiceChange(key, before, after):
            told: dict[str, object] = {"what": _kind("service", before, after).replace("_", " ")}
            told["service"] = _label(key)
            named = after or before
            if named is not None and named.name:
                told["name"] = named.name
            if before is not None and after is not None:
                told |= _news(written_service(before), written_service(after))
        case ServerChange() | DrainChange() | HealthChange():
            told = _described_server(change)
        case TimeoutsChange():
            told = {"what": "timeouts edited", **dict(zip(TIMEOUTS, change.after, strict=True))}
        case SettingsChange():
            told = {"what": "settings edited"} | _news(asdict(change.before), asdict(change.after))
        case Zeroed(key):
            told = {"what": "counters zeroed", "service": _label(key) if key else "all"}
    return told


def _described_server(change: ServerChange | DrainChange | HealthChange) -> dict[str, object]:
    news: dict[str, object] = {}
    match change:
        case ServerChange(before=old, after=new):
            what = _kind("server", old, new).replace("_", " ")
            if old is not None and new is not None:
                news = _news(written_server(old), written_server(new))
        case DrainChange(is_drained=is_drained, deadline_s=deadline_s):
            what = "server drained" if is_drained else "server undrained"
            news = {} if deadline_s is None else {"deadline_s": deadline_s}
        case HealthChange(before=before, after=after):
            what, news = "health", {"health": f"{before.value} -> {after.value}"}
    server = endpoint(change.address, change.port)
    return {"what": what, "service": _label(change.service), "server": server} | news


def _label(key: ServiceKey) -> str:
    if key.fwmark:
        return f"mark {key.fwmark}" + (" IPv6" if key.family == 6 else "")
    return f"{PROTOCOL_NAMES[key.protocol]} {endpoint(key.vip, key.vport)}"


def _news(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """Return what an edit has changed, old and new."""
    return {
        word: f"{before[word]} -> {each}" if word in before else each
        for word, each in after.items()
        if before.get(word) != each
    }


def _kind(what: str, before: object, after: object) -> str:
    return f"{what}_{'added' if before is None else 'removed' if after is None else 'edited'}"


def _both(before: object, after: object) -> dict[str, object]:
    given = {"before": before, "after": after}
    return {word: each for word, each in given.items() if each is not None}
