"""A lab with web servers that lie when they are told to, and lvsd that checks them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.lab import Lab
from lvsd.lab.program import start, wait_for_port
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.control.protocol import CheckEntry
    from lvsd.lab import Namespace
    from lvsd.lab.program import Program
    from tests.netns.traffic.site import Family, Site

PORT, RPORT = 80, 8080
LIAR = Path(__file__).with_name("liar.py")
TIMEOUT_S = 1.5
DOWN_S = 30.0 * PATIENCE
"""How long it may take a check to notice anything."""


@dataclass(frozen=True)
class Farm:
    """Real servers that behave as they are told."""

    lab: Lab
    programs: list[Program]

    def told(self, number: int, behaviour: str) -> None:
        """Have a server behave so from the next connection on."""
        behaviour_of(self.lab.servers[number]).write_text(behaviour, "ascii")

    def well(self) -> None:
        """Have all of them behave."""
        for number in range(len(self.programs)):
            self.told(number, "200")


def behaviour_of(host: Namespace) -> Path:
    """Return the file that says how a host's web server behaves."""
    return host.directory / "behaviour"


def liar(host: Namespace) -> Program:
    """Start such a server."""
    behaviour_of(host).write_text("200", "ascii")
    program = start(host, [sys.executable, LIAR, str(RPORT), host.name, behaviour_of(host)], "liar")
    wait_for_port(program, RPORT)
    return program


@pytest.fixture(scope="package")
def farm() -> Iterator[Farm]:
    """Have three servers."""
    with Lab(name="lvsd-health", servers=3) as lab:
        yield Farm(lab, [liar(host) for host in lab.servers])


def checked(
    lab: Lab, family: Family, *more: str, mode: str = "nat", servers: int = 3, last: str = ""
) -> str:
    """Return a service on the lab's virtual address whose servers are checked.

    ``more`` are lines of ``[service.check]``, ``last`` is one of the last server's.
    """
    lines = [
        "[[service]]",
        f'name = "web-{family}"',
        f"address = {json.dumps(at(of(lab.vip, family), PORT))}",
        'protocol = "tcp"',
        'scheduler = "rr"',
        f'forward = "{mode}"',
        "[service.check]",
        'type = "http"',
        'path = "/health"',
        "interval_s = 1.5",
        f"timeout_s = {TIMEOUT_S}",
        "fast_interval_s = 0.2",
        "fall = 2",
        "rise = 2",
        *more,
    ]
    for host in lab.servers[:servers]:
        lines += [
            "[[service.server]]",
            f"address = {json.dumps(at(of(host.addresses, family), RPORT))}",
        ]
    return "\n".join([*lines, last, ""])


def at(address: str, port: int) -> str:
    """Return an endpoint as a configuration has it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Checks:
    """What lvsd says of its checks."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def entries(self, family: Family) -> list[CheckEntry]:
        """Return an entry for each server, in the order of the lab's hosts."""
        with ControlClient(self.site.daemon.control) as client:
            found: list[CheckEntry] = list(client.items("checks"))
        place: dict[Any, CheckEntry] = {each["server"]["address"]: each for each in found}
        hosts = self.site.lab.servers
        return [
            place[of(each.addresses, family)]
            for each in hosts
            if of(each.addresses, family) in place
        ]

    def healths(self, family: Family) -> list[str]:
        """Return what each server is."""
        return [each["health"] for each in self.entries(family)]

    def come_to(self, family: Family, *healths: str) -> None:
        """Wait until servers are so."""
        assert until(lambda: self.healths(family) == [*healths], DOWN_S), self.entries(family)


@pytest.fixture
def checks(farm: Farm) -> Iterator[Checks]:
    """Run lvsd, with a service of either family, all of whose servers are well."""
    farm.well()
    tables = [checked(farm.lab, family) for family in FAMILIES]
    with running(farm.lab, *tables) as site:
        found = Checks(site)
        for family in FAMILIES:
            assert until(
                lambda family=family: all(each["good"] for each in found.entries(family)),  # type: ignore[misc]
                DOWN_S,
            )
        yield found
