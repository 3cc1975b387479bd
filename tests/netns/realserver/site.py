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
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from lvsd.lab.wait import PATIENCE
from tests.netns.io.hosts import PATIENCE_S, Host
from tests.netns.traffic.state import sysctls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEIGHBOUR4, NEIGHBOUR6 = "10.0.0.1", "2001:db8:2::1"
SERVER4, SERVER6 = "10.0.0.2", "2001:db8:2::2"
CLIENT4, CLIENT6 = "203.0.113.5", "2001:db8:c::5"
VIP4, VIP6 = "192.0.2.10", "2001:db8:7::10"
VIPS: Final = ("--vip", VIP4, "--vip", VIP6)
END_S: Final = 60.0 * PATIENCE

_MARK: Final = "----\n"
_SHOWN: Final = f"; printf -- '{_MARK}'; ".join(
    (
        "ip -j link",
        "ip -o address",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "nft list ruleset",
    )
)
_LINK_SCOPE: Final = ("20", "eth0")
_TENTATIVE: Final = 0x40  # IFA_F_TENTATIVE, linux/if_addr.h


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
        sysctl(host, "net.ipv6.conf.eth0.accept_dad", 0)
        host.ips(
            f"address add 10.0.0.{number}/24 dev eth0",
            f"address add 2001:db8:2::{number}/64 dev eth0 nodad",
            "link set eth0 up",
            "link set lo up",
        )
    for host in (neighbour, server):
        wait_for(partial(_has_carrier, host))
    neighbour.ips(f"address add {CLIENT4}/32 dev lo", f"address add {CLIENT6}/128 nodad dev lo")
    server.ips(*(f"route add default via {gateway}" for gateway in (NEIGHBOUR4, NEIGHBOUR6)))


def snapshot(host: Host) -> dict[str, Any]:
    """Return all that a real server's set-up may change on a host, in full."""
    shown = _run(host, "sh", "-ec", _SHOWN).split(_MARK)
    told, addresses, routes, routes6, rules, nftables = (each.strip() for each in shown)
    links = [
        (link["ifname"], link.get("link_type"), sorted(link["flags"])) for link in json.loads(told)
    ]
    return {
        "sysctls": sysctls(host),
        "links": links,
        "addresses": sorted(  # without the interfaces' numbers, which are never used again
            line.partition(": ")[2] for line in addresses.splitlines()
        ),
        "routes": sorted(routes.splitlines()),
        "routes6": sorted(routes6.splitlines()),
        "rules": rules.splitlines(),
        "nftables": nftables.splitlines(),
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
    with site.server.entered():
        subprocess.run(
            ["sh", "-e"],
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
    with host.entered():
        Path("/proc/sys", *name.split(".")).write_text(str(value), "ascii")


def _has_carrier(host: Host) -> bool:
    """Return whether eth0 is ready; IPv6 then has its link-local address."""
    with host.entered():
        told = Path("/proc/thread-self/net/if_inet6").read_text("ascii")
    rows = map(str.split, told.splitlines())
    states = [
        int(flags, 16) for _, _, _, scope, flags, name in rows if (scope, name) == _LINK_SCOPE
    ]
    return states != [] and not any(flags & _TENTATIVE for flags in states)


def _run(host: Host, *command: str) -> str:
    with host.entered():
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE_S * 2
        )
    return done.stdout
