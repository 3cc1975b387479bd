"""What lvsd is to do with requests for changes, in a few dicts.

``services`` has an object per service: what ``is`` wanted of it (as the control protocol writes
it), its ``servers`` by place, and how many connections were ``opened`` since they were counted
anew. ``links`` are living connections: each leads to the object of its real server, which leads
to that of its service, whether they are still in ``services`` or not.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Final

SERVICE: Final[dict[str, Any]] = {
    "name": "",
    "scheduler": "wlc",
    "flags": [],
    "persistence_s": 0,
    "prefix": 0,
    "one_packet": False,
    "mss_clamp": False,
    "max_connections": 0,
    "slow_start_s": 0,
    "local_addresses": [],
    "local_ports": [1025, 65535],
    "tcp_timeout_s": 0,
    "udp_timeout_s": 0,
    "udp_answered_timeout_s": 0,
}
SERVER: Final[dict[str, Any]] = {"port": 0, "forward": "nat", "weight": 1, "upper": 0, "lower": 0}
FLAGS: Final = {"sh": {"sh-port", "sh-fallback"}, "mh": {"mh-port", "mh-fallback"}}
SCHEDULERS: Final = {"rr", "wrr", "lc", "wlc", "sh", "mh"}

ANY_PORT: Final = {"nat", "fullnat"}
TIMEOUTS: Final = ("tcp_s", "tcp_fin_s", "udp_s")


class Refused(Exception):  # noqa: N818 - what it is, not that somebody failed
    """A request is refused with this text, or, where it is empty, before anybody looks at it."""


class Model:
    """Services, real servers, timeouts and connections."""

    def __init__(self) -> None:
        self.timeouts = [900, 120, 300]
        self.services: dict[str, dict[str, Any]] = {}
        self.links: dict[Any, dict[str, Any]] = {}

    # --- requests -------------------------------------------------------------------------------

    def after(self, commands: list[dict[str, Any]], now: float) -> Model:
        """Return what there is after a list of commands. Raise Refused."""
        for command in commands:
            _check_words(command)
        trial = deepcopy(self)
        for command in commands:
            trial._do(command, now)
        return trial

    def _do(self, command: dict[str, Any], now: float) -> None:
        name = command["command"]
        if name == "clear":
            self.services.clear()
        elif name == "set_timeouts":
            self.timeouts = [
                command.get(word) or old for word, old in zip(TIMEOUTS, self.timeouts, strict=True)
            ]
        elif name == "zero":
            some = [self.service(command["service"])] if "service" in command else None
            for service in some or self.services.values():
                service["opened"] = 0
        elif name in {"add_service", "edit_service", "remove_service"}:
            self._do_with_service(name, command["service"])
        else:
            self._do_with_server(name, command, now)

    def service(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the service that an object names. Raise Refused."""
        if label(wanted) not in self.services:
            raise Refused("No such service")
        return self.services[label(wanted)]

    def has(self, wanted: dict[str, Any]) -> list[tuple[str, int]]:
        """Return the places of a service's real servers."""
        return [*self.services.get(label(wanted), {"servers": {}})["servers"]]

    def _do_with_service(self, name: str, wanted: dict[str, Any]) -> None:
        if name == "add_service":
            if label(wanted) in self.services:
                raise Refused("Service already exists")
            _check_service(wanted)
            self.services[label(wanted)] = {"is": written(wanted), "servers": {}, "opened": 0}
        elif name == "remove_service":
            self.service(wanted)
            del self.services[label(wanted)]
        else:
            service = self.service(wanted)
            _check_service(wanted)
            for server in service["servers"].values():
                _check_server(written(wanted), server["is"])
            service["is"] = written(wanted)

    def reloaded(self, saved: Model) -> Model:
        """Return what there is once a configuration says what another model has.

        What stays keeps its place, drain and connections; what is new comes last.
        """
        trial = deepcopy(self)
        trial.timeouts = [*saved.timeouts]
        for name, wanted in saved.services.items():
            new = {"is": wanted["is"], "servers": {}, "opened": 0}
            service = trial.services.setdefault(name, new)
            service["is"] = wanted["is"]
            there, wanted_there = service["servers"], wanted["servers"]
            for place, server in wanted_there.items():
                if place in there:
                    there[place]["is"] = server["is"]
                else:
                    trial._add_server(service, place, server["is"])
            service["servers"] = {key: each for key, each in there.items() if key in wanted_there}
        kept = {name: each for name, each in trial.services.items() if name in saved.services}
        trial.services = kept
        return trial

    def _do_with_server(self, name: str, command: dict[str, Any], now: float) -> None:
        service, wanted = self.service(command["service"]), command["server"]
        servers, place = service["servers"], (wanted["address"], wanted.get("port", 0))
        if name == "add_server" and place in servers:
            raise Refused("Destination already exists")
        if name != "add_server" and place not in servers:
            raise Refused("No such destination")
        if name in {"add_server", "edit_server"}:
            _check_server(service["is"], SERVER | wanted)
        if name == "add_server":
            self._add_server(service, place, SERVER | wanted)
        elif name == "edit_server":
            servers[place]["is"] = SERVER | wanted
        elif name == "remove_server":
            del servers[place]
        elif name == "drain":
            after_s = command.get("deadline_s")
            servers[place]["drained"] = True
            servers[place]["until"] = None if after_s is None else now + after_s
        else:
            servers[place]["drained"], servers[place]["until"] = False, None

    def _add_server(
        self, service: dict[str, Any], place: tuple[str, int], wanted: dict[str, Any]
    ) -> None:
        """Add a real server; one that left connections comes back."""
        name, servers = label(service["is"]), service["servers"]
        left = (
            each for each in self.servers_of_links() if (each["of"], each["place"]) == (name, place)
        )
        servers[place] = next(left, {"of": name, "place": place})
        servers[place] |= {"is": wanted, "service": service, "until": None, "drained": False}

    # --- connections ----------------------------------------------------------------------------

    def servers_of_links(self) -> list[dict[str, Any]]:
        """Return the real servers that have connections."""
        return list({id(link["server"]): link["server"] for link in self.links.values()}.values())

    def used(self, key: Any, server: dict[str, Any], now: float) -> None:
        """Take note of a connection that has a packet now, the first one or another."""
        timing, is_tcp = server["service"]["is"], key[0] == "tcp"
        own_s = timing["tcp_timeout_s" if is_tcp else "udp_timeout_s"]
        lasts_s = own_s or self.timeouts[0 if is_tcp else 2]
        self.links[key] = {"server": server, "expires": now + lasts_s}

    def time_passed(self, now: float) -> None:
        """Forget connections whose time is over, or that of their drained server."""
        self.links = {
            key: link
            for key, link in self.links.items()
            if link["expires"] > now and not self._is_cut(link["server"], now)
        }

    def _is_cut(self, server: dict[str, Any], now: float) -> bool:
        return self.is_there(server) and server["until"] is not None and server["until"] <= now

    def is_there(self, server: dict[str, Any]) -> bool:
        """Whether a real server has not been removed, nor its service."""
        service = self.services.get(server["of"], {"servers": {}})
        return service["servers"].get(server["place"]) is server


def label(wanted: dict[str, Any]) -> str:
    """Return what names a service."""
    if wanted.get("fwmark"):
        return f"mark {wanted['fwmark']} {wanted['family']}"
    return f"{wanted['protocol']} {wanted['address']} {wanted['port']}"


def written(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the object of a service with all that is not given."""
    found = SERVICE | wanted
    return found | {"flags": sorted(set(found["flags"]))}


def _check_words(command: dict[str, Any]) -> None:
    """Refuse what is wrong whatever there is."""
    service, server = command.get("service", {}), command.get("server", {})
    flags = set(service.get("flags", ()))
    scheduler = service.get("scheduler", "wlc")
    is_wrong = (
        command["command"] == "explode"
        or "colour" in json.dumps(command)
        or command.get("deadline_s") == -1
        or service.get("prefix") == 129
        or (service.get("prefix") and not service.get("persistence_s"))
        or scheduler not in SCHEDULERS
        or flags - FLAGS.get(scheduler, set())
        or not 0 <= server.get("weight", 1) <= 65535
        or ("tunnel" in server and server.get("forward") != "tun")
    )
    if is_wrong:
        raise Refused("")


def _check_service(wanted: dict[str, Any]) -> None:
    wanted = SERVICE | wanted
    is_6 = wanted.get("family") == 6 or ":" in wanted.get("address", "")
    if wanted["one_packet"] and wanted.get("protocol") == "tcp":
        raise Refused("One-Packet Scheduling is only for UDP virtual services")
    if wanted["prefix"] > (128 if is_6 else 32):
        raise Refused("a persistence prefix of")
    if any((":" in each) != is_6 for each in wanted["local_addresses"]):
        raise Refused("a local address is not of the service's family")


def _check_server(service: dict[str, Any], server: dict[str, Any]) -> None:
    is_6 = service.get("family") == 6 or ":" in service.get("address", "")
    if server["forward"] != "tun" and (":" in server["address"]) != is_6:
        raise Refused("not of the service's family")
    has_a_port = server["forward"] not in ANY_PORT and not service.get("fwmark")
    if has_a_port and server["port"] != service["port"]:
        raise Refused("changes no port")
    if server["forward"] == "fullnat" and not service["local_addresses"]:
        raise Refused("needs local addresses")
    if server["forward"] == "fullnat" and service["one_packet"]:
        raise Refused("needs connections")
