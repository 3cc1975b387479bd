"""A lab with a running lvsd in it, and what the tests ask of both."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lvsd.control.client import ControlClient
from lvsd.lab import programs, settings
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lvsd.control.protocol import ConnectionEntry, ServiceEntry
    from lvsd.lab import Lab, Namespace
    from lvsd.lab.plan import Addresses
    from lvsd.lab.traffic import Answer

Family: TypeAlias = Literal["v4", "v6"]
FAMILIES: tuple[Family, ...] = ("v4", "v6")

PATIENCE_S = 10.0 * PATIENCE
"""How long a socket of a test waits for what must come."""

SOCKET_FAMILIES = {"v4": socket.AF_INET, "v6": socket.AF_INET6}


def of(addresses: Addresses, family: Family) -> str:
    """Return the address of that family."""
    return addresses.v4 if family == "v4" else addresses.v6


def endpoints(hosts: Iterable[Namespace], family: Family, port: int) -> list[str]:
    """Return ``address:port`` of each host."""
    return [settings.at(of(host.addresses, family), port) for host in hosts]


def table(name: str, servers: Mapping[str, int | Mapping[str, object]], **keys: object) -> str:
    """Return a ``[[service]]`` table.

    ``servers`` maps a real server's endpoint to its weight, or to other keys of its own.
    """
    lines = ["[[service]]", *_keys({"name": name} | keys)]
    for address, given in servers.items():
        own = {"weight": given} if isinstance(given, int) else given
        lines += ["[[service.server]]", *_keys({"address": address, **own})]
    return "\n".join([*lines, ""])


def _keys(keys: Mapping[str, object]) -> list[str]:
    # JSON of strings of these characters, numbers, booleans and lists of them is TOML.
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


def balanced(
    lab: Lab,
    family: Family,
    port: int,
    rport: int,
    *,
    servers: slice = slice(None),
    weights: Sequence[int] = (),
    **keys: object,
) -> str:
    """Return the table of a service on the lab's virtual address of that family.

    ``rport`` is the real servers' port, ``servers`` which of them, ``weights`` theirs. The
    protocol is TCP and the scheduler rr unless ``keys`` say otherwise.
    """
    options = {"protocol": "tcp", "scheduler": "rr"} | keys
    real = endpoints(lab.servers[servers], family, rport)
    weighted = dict(zip(real, weights or [1] * len(real), strict=True))
    address = settings.at(of(lab.vip, family), port)
    return table(f"{options['protocol']}-{port}-{family}", weighted, address=address, **options)


def both(lab: Lab, port: int, rport: int, **options: Any) -> str:
    """Return the tables of `balanced` for IPv4 and IPv6."""
    return "\n".join(balanced(lab, family, port, rport, **options) for family in FAMILIES)


@dataclass(frozen=True)
class Site:
    """The lab and its daemon."""

    lab: Lab
    daemon: programs.Daemon

    def vip(self, family: Family) -> str:
        """Return the virtual address."""
        return of(self.lab.vip, family)

    def source(self, family: Family, number: int = 0) -> str:
        """Return one of the client's addresses."""
        return of(self.lab.client.sources[number], family)

    def url(self, family: Family, port: int = 80, path: str = "/") -> str:
        """Return a URL of the virtual web site."""
        return f"http://{settings.at(self.vip(family), port)}{path}"

    def get(self, family: Family, port: int = 80, source: int = 0) -> Answer:
        """Ask for / on a connection of its own, from one of the client's addresses."""
        visitor = Visitor(self.lab.client, self.vip(family), port)
        return visitor.get(self.source(family, source))

    def visits(self, family: Family, port: int, number: int, source: int = 0) -> list[str]:
        """Return which servers answered so many connections, one after the other."""
        return [self.get(family, port, source).server for _ in range(number)]

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask the daemon over its control socket."""
        with ControlClient(self.daemon.control) as client:
            return client.call(method, **params)  # type: ignore[no-any-return]  # it is JSON

    @property
    def services(self) -> list[ServiceEntry]:
        """All services."""
        with ControlClient(self.daemon.control) as client:
            return list(client.items("list"))

    @property
    def drops(self) -> dict[str, int]:
        """How many packets were dropped, by reason."""
        return dict(self.call("status")["drops"])

    @property
    def connections(self) -> list[ConnectionEntry]:
        """All connections and templates."""
        with ControlClient(self.daemon.control) as client:
            return list(client.items("connections"))

    def service(self, name: str) -> ServiceEntry:
        """Return a service by its name."""
        with ControlClient(self.daemon.control) as client:
            entries: Iterator[ServiceEntry] = client.items("list")
            return next(entry for entry in entries if entry["name"] == name)

    def lvsadm(self, *arguments: str) -> str:
        """Return what lvsadm prints."""
        command = [
            sys.executable,
            "-m",
            "lvsd.control.lvsadm",
            "--control",
            str(self.daemon.control),
        ]
        return self.lab.director.run([*command, *arguments]).stdout


@contextlib.contextmanager
def running(lab: Lab, *tables: str, errors: Collection[str] = ()) -> Iterator[Site]:
    """Run lvsd with this configuration; hold it to a clean end and a log without other errors."""
    daemon = programs.lvsd(lab.director, "\n".join(["[daemon]", 'log_format = "json"', *tables]))
    try:
        yield Site(lab, daemon)
    except BaseException:
        daemon.stop()
        raise
    status = daemon.stop()
    assert (status, complaints(daemon.log_file, errors)) == (0, [])


def complaints(log: Path, expected: Collection[str] = ()) -> list[str]:
    """Return the lines of a JSON log that are errors but ``expected``, or no log lines at all."""

    def is_error(line: str) -> bool:
        try:
            said = json.loads(line)
            return said["level"] not in {"debug", "info", "warning"} and (
                said["event"] not in expected
            )
        except (ValueError, KeyError, TypeError):
            return True

    return [line for line in log.read_text(encoding="utf-8").splitlines() if is_error(line)]
