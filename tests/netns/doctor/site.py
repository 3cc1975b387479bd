"""A lab of one mode or several, with the doctor in its director."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from lvsd.control.client import ControlClient
from lvsd.doctor.snapshot import RECENT_S, SILENT_S
from lvsd.lab import Lab, programs, real_server
from lvsd.lab.wait import PATIENCE, until
from tests.netns.modes.site import MAPPED, forwarded
from tests.netns.traffic.site import FAMILIES, Site, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lvsd.control.protocol import ServiceEntry
    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

Tunnel: TypeAlias = tuple[str, int | None]
"""Its kind, and GUE's port."""

PORTS = {"nat": 81, "dr": 82, "tun": 83, "fullnat": 84}
"""The service of each mode; real servers of DR and TUN have the same port."""

MAPPING = {"nat": MAPPED, "fullnat": MAPPED}
"""The real servers' port, where it is another one."""


@dataclass(frozen=True)
class Found:
    """A finding with the name of its check."""

    check: str
    level: str
    what: str
    where: str
    remedy: str
    at: str


def of(found: list[Found], check: str) -> list[tuple[str, str]]:
    """Return level and text of what a check found."""
    return [(each.level, each.what) for each in found if each.check == check]


@dataclass(frozen=True)
class Clinic:
    """A running director, and the doctor's view of it."""

    site: Site
    webs: dict[str, programs.Program] = field(default_factory=dict)
    """The web server of each real server."""

    @property
    def lab(self) -> Lab:
        """The lab."""
        return self.site.lab

    def doctor(self, *options: str) -> tuple[int, str]:
        """Return the doctor's exit status and what it printed; complaints end the test."""
        given = options or ("-c", str(self.site.daemon.config_file))
        wait = f"--wait={PATIENCE:g}"
        command = [sys.executable, "-m", "lvsd", "doctor", wait, *given]
        done = self.lab.director.run(command, check=False)
        assert done.stderr == "", done.stderr
        return done.returncode, done.stdout

    def findings(self, *options: str) -> list[Found]:
        """Return what the doctor finds; its exit status must agree."""
        given = options or ("-c", str(self.site.daemon.config_file))
        status, printed = self.doctor(*given, "--json")
        report: dict[str, Any] = json.loads(printed)
        found = [
            Found(check=check["name"], **finding)
            for check in report["checks"]
            for finding in check["findings"]
        ]
        problems = any(each.level == "problem" for each in found)
        assert (status, report["good"]) == (int(problems), not problems)
        return found

    def mend(self, host: Namespace, finding: Found, *options: str | Path) -> None:
        """Give a finding's command in a host, of lvsd itself by the interpreter that runs us."""
        program, *words = finding.remedy.split()
        start = [sys.executable, "-m", "lvsd"] if program == "lvsd" else [program]
        host.run([*start, *words, *options])

    @contextlib.contextmanager
    def without_web(self, server: Namespace) -> Iterator[None]:
        """Have nobody listen on a real server for the time of the block."""
        self.webs[server.host].stop()
        try:
            yield
        finally:
            self.webs[server.host] = web(server)

    def visit(self, way: str, family: Family) -> None:
        """Let a client try the service of a mode for a moment, whatever comes of it."""
        url = self.site.url(family, PORTS[way])
        self.lab.client.run(["curl", "-s", "-m", "0.5", url], check=False)

    def go_unanswered(self, way: str, family: Family) -> None:
        """Let a client try in vain, until the daemon counts the service's server as silent."""
        self.visit(way, family)
        vip = self.site.vip(family)

        def is_silent() -> bool:
            with ControlClient(self.site.daemon.control) as client:
                entries: list[ServiceEntry] = list(client.items("list"))
            return any(
                server["evidence"]["waiting_s"] >= SILENT_S
                and server["evidence"]["tried_ago_s"] <= RECENT_S  # not by an earlier test
                for entry in entries
                if (entry["address"], entry["port"]) == (vip, PORTS[way])
                for server in entry["servers"]
            )

        assert until(is_silent, 30 * PATIENCE)


def web(server: Namespace) -> programs.Program:
    """Start a web server for all services that there are."""
    return programs.nginx(server, ports=[*PORTS.values(), MAPPED])


@contextlib.contextmanager
def sysctl(host: Namespace, name: str, value: str) -> Iterator[None]:
    """Set a sysctl for the time of the block."""
    before = host.sysctl_value(name)
    host.sysctl(name, value)
    try:
        yield
    finally:
        host.sysctl(name, before)


@contextlib.contextmanager
def changed(host: Namespace, do: str, undo: str) -> Iterator[None]:
    """Have a line of iproute2 done for the time of the block."""
    host.ip(do)
    try:
        yield
    finally:
        host.ip(undo)


@contextlib.contextmanager
def clinic(
    ways: Sequence[str],
    *,
    prepared: bool = True,
    tunnel: Tunnel = ("ipip", None),
    families: Sequence[Family] = FAMILIES,
    far_mtu: int | None = None,
    mss: str | None = "auto",
    **keys: Any,
) -> Iterator[Clinic]:
    """Run a director with a web service for each of these ways, over IPv4 and IPv6.

    ``prepared``: DR and TUN servers have what they need, the latter an end of such a ``tunnel``,
    and announce an ``mss`` (``up --mss``) that fits into it. ``keys`` go to every service.
    """
    with Lab(name="lvsd-doctor", ways=ways, far_mtu=far_mtu) as lab:
        webs = {server.host: web(server) for server in lab.servers}
        if prepared:
            real_server.up_all(lab.servers, lab.vip, tunnel=tunnel[0], port=tunnel[1], mss=mss)
        tables = [
            forwarded(
                lab,
                way,
                PORTS[way],
                rport=MAPPING.get(way),
                families=families,
                **({**_tunnel_keys(tunnel), **keys} if way == "tun" else keys),
            )
            for way in dict.fromkeys(ways)
        ]
        with running(lab, *tables) as site:
            yield Clinic(site, webs)


def _tunnel_keys(tunnel: Tunnel) -> dict[str, Any]:
    kind, port = tunnel
    return {"tunnel": kind} | ({"tunnel_port": port} if port else {})
