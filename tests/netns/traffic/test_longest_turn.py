"""No turn of the engine's event loop is long, whatever else lvsd has to do meanwhile.

Turns are measured in processor time: on a busy machine the clock on the wall says nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.lab import Lab
from lvsd.lab.director import Daemon
from lvsd.lab.notify import start_and_wait
from lvsd.lab.settings import with_control
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.measured import SERVERS
from tests.netns.traffic.site import Site, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_S = 0.005
CONNECTIONS = 100_000
TOGETHER = 1000
"""Packets between two looks whether the engine has taken them."""
PATIENCE_S = 20.0 * PATIENCE
ROUNDS = 4
"""Of so many longest turns the shortest counts: what takes long by itself does so each time, while
processor time grows beside a load that has the caches, or the hypervisor's attention."""
PORT = 53


@dataclass(frozen=True)
class Measured(Site):
    """A lab with a measured lvsd in it, which tells its turns in a file."""

    turns: Path

    def look(self) -> dict[str, Any]:
        """Return what the engine tells since the last look, such as its longest turn in seconds."""
        self.turns.unlink(missing_ok=True)
        os.kill(self.daemon.engine, signal.SIGUSR2)
        assert until(self.turns.exists, PATIENCE_S)
        return json.loads(self.turns.read_text("ascii"))  # type: ignore[no-any-return]  # it is JSON

    def longest(self, reached: Callable[[dict[str, Any]], bool]) -> float:
        """Wait until the engine tells what is to be reached; return its longest turn meanwhile."""
        longest = 0.0

        def is_reached() -> bool:
            nonlocal longest
            told = self.look()
            longest = max(longest, told["longest_s"])
            return not told["is_busy"] and reached(told)

        assert until(is_reached, PATIENCE_S)
        return longest

    def act(self, name: str, number: int = 0) -> float:
        """Have the supervisor do something; return the longest turn until all has followed."""
        file = self.turns.with_suffix(".act")
        file.write_text(f"{name} {number}", "ascii")
        os.kill(self.daemon.process.pid, signal.SIGUSR1)
        return self.longest(lambda _: not file.exists())

    @property
    def connections(self) -> int:  # type: ignore[override]  # their number will do here
        """How many connections there are."""
        return int(self.look()["connections"])

    def taken(self) -> int:
        """Return how many packets the engine has taken."""
        with ControlClient(self.daemon.control) as client:
            return int(client.call("status")["groups"]["queue"]["received"])

    def has_taken(self, packets: int) -> bool:
        """Whether the engine has taken so many."""
        return self.taken() >= packets


@pytest.fixture(scope="module")
def site() -> Iterator[Measured]:
    """Run lvsd with one service, whose real servers are behind a link that leads nowhere."""
    with Lab(name="lvsd-turns", servers=1) as lab:
        director = lab.director
        director.ip(
            "link add sink type veth peer sunk",
            "link set sink up arp off",
            "link set sunk up",
            "address add 10.67.255.254/15 dev sink",
        )
        servers = {"10.67.0.1:53": 1}
        address = f"{lab.vip.v4}:{PORT}"
        text = table("dns", servers, address=address, protocol="udp", scheduler="wlc")
        text = f"[sysctl]\nexpire_nodest_conn = true\n{text}"
        text, control = with_control(text, director.directory / "lvsd.sock")
        file = director.directory / "lvsd.toml"
        file.write_text(text)
        turns = director.directory / "turns"
        argv: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.netns.traffic.measured",
            turns,
            "-c",
            file,
        ]
        program = start_and_wait(director, argv, "lvsd")
        daemon = Daemon("lvsd", program.process, program.namespace, program.log_file, control, file)
        site = Measured(lab, daemon, turns)
        site.act("add_servers")
        open_connections(site, range(1024, 1024 + CONNECTIONS // 2))
        assert site.connections == CONNECTIONS
        yield site
        assert daemon.stop() == 0


def open_connections(site: Measured, ports: range) -> None:
    """Send a datagram from each port of two clients, no faster than the engine takes them."""
    target = socket.inet_aton(site.lab.vip.v4)
    before = site.taken()
    with site.lab.client.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        clients = [socket.inet_aton(site.source("v4", number)) for number in (0, 1)]
        for number, (client, port) in enumerate(itertools.product(clients, ports), 1):
            raw.sendto(datagram(client, target, port), (site.lab.vip.v4, 0))
            if number % TOGETHER == 0 or number == 2 * len(ports):
                assert until(partial(site.has_taken, before + number), PATIENCE_S)


def datagram(source: bytes, target: bytes, port: int) -> bytes:
    """Return a UDP packet without data and without a checksum."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0)
    return head + source + target + struct.pack("!HHHH", port, PORT, 8, 0)


def list_connections(site: Measured, _: int) -> float:
    """List all connections."""
    with ControlClient(site.daemon.control) as client:
        assert sum(1 for _ in client.items("connections")) == CONNECTIONS
    return 0.0


def change_routes(site: Measured, number: int) -> float:
    """Let all real servers be behind a narrower link."""
    mtu = 1400 + number
    site.lab.director.ip(f"link set sink mtu {mtu}")
    return site.longest(lambda told: told["mtus"] == {f"{mtu}": SERVERS + 1})


def edit_weights(site: Measured, number: int) -> float:
    """Edit the weights of all real servers, and have one picked."""
    longest = site.act("edit_weights", number)
    open_connections(site, range(100 + number, 101 + number))
    return longest


def replace_ruleset(site: Measured, _: int) -> float:
    """Flush the ruleset, and load another one."""
    for _ in range(5):
        site.lab.director.run(["nft", "flush ruleset; add table inet other"])
    return 0.0


def take_over_by_mh(site: Measured, number: int) -> float:
    """Let a scheduler with a table take over, hear of changes, and pick some servers."""
    longest = max(site.act("take_over_by_wlc"), site.act("take_over_by_mh"))
    open_connections(site, range(200 + 5 * number, 205 + 5 * number))
    return longest


def flush_connections(site: Measured, number: int) -> float:
    """Remove real servers, whose connections are to end."""
    before = site.connections
    longest = site.act("remove_some", number)
    return max(longest, site.longest(lambda told: told["connections"] <= before - CONNECTIONS // 5))


def remove_service(site: Measured, _: int) -> float:
    """Remove the service with all its real servers, and the connections with it."""
    longest = site.act("remove_service")
    return max(longest, site.longest(lambda told: told["connections"] == 0))


def remove_servers(site: Measured, number: int) -> float:
    """Remove all real servers, and add them."""
    return max(site.act("remove_servers", number), site.act("add_servers", number))


@pytest.mark.parametrize(
    "act",
    [
        list_connections,
        change_routes,
        replace_ruleset,
        edit_weights,
        take_over_by_mh,
        flush_connections,
        remove_service,
        remove_servers,
    ],
    ids=lambda act: act.__name__,
)
def test_no_turn_is_longer_than_five_milliseconds(
    site: Measured, act: Callable[[Measured, int], float]
) -> None:
    longest = []
    for number in range(ROUNDS):
        site.look()
        longest.append(max(act(site, number), site.look()["longest_s"]))
        if longest[-1] <= MOST_S:
            return
    pytest.fail(f"the longest turns took {longest} s")
