"""A real server, and a neighbour that is its director, its router and all its clients.

::

    neighbour 10.0.0.1 -------- 10.0.0.2 server
              2001:db8:2::1     2001:db8:2::2
    clients   203.0.113.5, 2001:db8:c::5, on the neighbour's lo
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from lvsd.lab.wait import PATIENCE
from tests.netns.io.hosts import PATIENCE_S, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEIGHBOUR4, NEIGHBOUR6 = "10.0.0.1", "2001:db8:2::1"
SERVER4, SERVER6 = "10.0.0.2", "2001:db8:2::2"
CLIENT4, CLIENT6 = "203.0.113.5", "2001:db8:c::5"
VIP4, VIP6 = "192.0.2.10", "2001:db8:7::10"
VIPS: Final = ("--vip", VIP4, "--vip", VIP6)
END_S: Final = 60.0 * PATIENCE


@dataclass(frozen=True)
class Site:
    """Both hosts, and where the real server keeps its state."""

    neighbour: Host
    server: Host
    state: Path

    def command(self, *words: str) -> list[str]:
        """Return ``lvsd realserver`` with words as it is run on the server."""
        return ["ip", "netns", "exec", self.server.name, *self._lvsd(*words)]

    def _lvsd(self, *words: str) -> list[str]:
        state = [] if words[0] == "toa" else ["--state", str(self.state)]
        return [sys.executable, "-m", "lvsd", "realserver", *words, *state]

    def started(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``lvsd realserver``; ``options`` go to `subprocess.Popen`."""
        with self.server.entered():
            return subprocess.Popen(self._lvsd(*words), text=True, **options)

    def realserver(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``lvsd realserver`` to its end."""
        with self.started(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            try:
                out, err = program.communicate(timeout=END_S)
            except BaseException:
                program.kill()
                raise
        return subprocess.CompletedProcess(program.args, program.returncode, out, err)

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``lvsd realserver up`` from when it says that it is up; end it afterwards."""
        with self.started(
            "up", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as program:
            assert program.stdout is not None
            try:
                said = program.stdout.readline()
                assert said.startswith("up"), said
                yield program
            finally:
                program.terminate()
                program.communicate(timeout=END_S)


def has_devices(site: Site) -> bool:
    """Return whether this kernel has the devices of all tunnels."""
    found = [
        site.realserver("up", "--mode", "tun", "--by", "kernel", "--tunnel", tunnel, *VIPS)
        for tunnel in ("ipip", "gre")
    ]
    site.realserver("down")
    return all(done.returncode == 0 for done in found)


@contextmanager
def built(state: Path) -> Iterator[Site]:
    """Build both hosts; remove them afterwards."""
    names = [f"lvsd-rs-{os.getpid()}-{role}" for role in ("neighbour", "server")]
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        site = Site(Host(names[0]), Host(names[1]), state)
        _connect(site)
        yield site
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def _connect(site: Site) -> None:
    neighbour, server = site.neighbour, site.server
    neighbour.ip(f"link add eth0 type veth peer name eth0 netns {server.name}")
    for host, number in ((neighbour, 1), (server, 2)):
        host.ip(f"address add 10.0.0.{number}/24 dev eth0")
        host.ip(f"address add 2001:db8:2::{number}/64 dev eth0 nodad")
        sysctl(host, "net.ipv6.conf.eth0.accept_dad", 0)
        host.ip("link set eth0 up")
        host.ip("link set lo up")
    for host in (neighbour, server):
        wait_for(partial(_has_carrier, host))
    for address in (f"{CLIENT4}/32", f"{CLIENT6}/128 nodad"):
        neighbour.ip(f"address add {address} dev lo")
    for gateway in (NEIGHBOUR4, NEIGHBOUR6):
        server.ip(f"route add default via {gateway}")


def snapshot(host: Host) -> dict[str, Any]:
    """Return all that a real server's set-up may change on a host, in full."""
    settings = ("sysctl", "-a", "-r", r"^net\.ipv[46]\.(conf|ip_forward|fib)")
    done = _run(host, *settings)
    links = [
        (link["ifname"], link.get("link_type"), sorted(link["flags"]))
        for link in json.loads(_run(host, "ip", "-j", "link"))
    ]
    return {
        "sysctls": done.splitlines(),
        "links": links,
        "addresses": sorted(  # without the interfaces' numbers, which are never used again
            line.partition(": ")[2] for line in _run(host, "ip", "-o", "address").splitlines()
        ),
        "routes": sorted(_run(host, "ip", "route", "show", "table", "all").splitlines()),
        "routes6": sorted(_run(host, "ip", "-6", "route", "show", "table", "all").splitlines()),
        "rules": _run(host, "ip", "rule").splitlines(),
        "nftables": _run(host, "nft", "list", "ruleset").splitlines(),
    }


def wrong(site: Site, *words: str) -> list[tuple[str, str]]:
    """Return (what, remedy) of all that ``status`` finds wrong."""
    done = site.realserver("status", "--json", *words)
    report: dict[str, Any] = json.loads(done.stdout)
    found = [(each["what"], each["remedy"]) for each in report["findings"] if not each["good"]]
    assert (done.returncode, report["good"]) == ((1, False) if found else (0, True))
    return found


def typed(site: Site, script: str) -> None:
    """Run a script as a person would on the server."""
    subprocess.run(
        ["ip", "netns", "exec", site.server.name, "sh", "-e"],
        input=script,
        text=True,
        check=True,
        capture_output=True,
        timeout=60 * PATIENCE,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail when it does not come."""
    end = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < end, "it did not come"
        sleep(0.02)


def sysctl(host: Host, name: str, value: int) -> None:
    """Set a sysctl of a host."""
    _run(host, "sysctl", "-qw", f"{name}={value}")


def _has_carrier(host: Host) -> bool:
    """Return whether eth0 is ready; IPv6 then has its link-local address."""
    said = _run(host, "ip", "-6", "address", "show", "dev", "eth0")
    return "scope link" in said and "tentative" not in said


def _run(host: Host, *command: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", host.name, *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S * 2,
    )
    return done.stdout
