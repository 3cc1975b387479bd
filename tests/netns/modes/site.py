"""Services of all four modes, and what a director sent while they were used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.lab import program, settings
from lvsd.lab.wait import until
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, endpoints, of, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lvsd.lab import Lab, Namespace
    from tests.netns.traffic.site import Family

MAPPED = 8080
"""The real servers' port in the modes that can map ports."""


def reached(lab: Lab, way: str) -> list[Namespace]:
    """Return the real servers that are reached in that way."""
    return [space for space in lab.servers if space.way == way]


def locals_of(lab: Lab, family: Family) -> list[str]:
    """Return the director's local addresses."""
    return [of(pair, family) for pair in lab.local_addresses]


def forwarded(
    lab: Lab,
    way: str,
    port: int,
    *,
    servers: Sequence[Namespace] | None = None,
    rport: int | None = None,
    families: Sequence[Family] = FAMILIES,
    **keys: object,
) -> str:
    """Return the tables of a service on the lab's virtual addresses, forwarded in one way.

    Its servers are all that the lab has for that way, or those named. Their port is the service's
    unless another one is given. The protocol is TCP and the scheduler rr unless ``keys`` say
    otherwise.
    """
    chosen = reached(lab, way) if servers is None else servers
    tables = []
    for family in families:
        options = {"protocol": "tcp", "scheduler": "rr", "forward": way} | keys
        if way == "fullnat":
            options = {"local_addresses": locals_of(lab, family)} | options
        tables.append(
            table(
                f"{options['protocol']}-{port}-{family}",
                dict.fromkeys(endpoints(chosen, family, port if rport is None else rport), 1),
                address=settings.at(of(lab.vip, family), port),
                **options,
            )
        )
    return "\n".join(tables)


def assert_in_turn(answers: Sequence[str], names: Sequence[str]) -> None:
    """Want servers to have answered in this order, again and again, whoever was first."""
    start = names.index(answers[0])
    assert list(answers) == [names[(start + index) % len(names)] for index in range(len(answers))]


def sha256(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass
class Overheard:
    """How many packets there were; known when the watching is over."""

    packets: int = -1


@contextlib.contextmanager
def overheard(host: Namespace, interface: str, what: str) -> Iterator[Overheard]:
    """Count the packets on an interface that match tcpdump's filter, such as ``outbound``."""
    argv = ["tcpdump", "-ni", interface, "-w", "/dev/null", what]
    tcpdump = program.start(host, argv, "tcpdump")
    assert until(lambda: "listening on" in tcpdump.log, PATIENCE_S), tcpdump.log
    count = Overheard()
    yield count
    tcpdump.stop()
    # The kernel's own count: tcpdump ends without having read all of them.
    [number] = re.findall(r"(\d+) packets? received by filter", tcpdump.log)
    count.packets = int(number)


@contextlib.contextmanager
def captured(host: Namespace, interface: str, what: str) -> Iterator[list[str]]:
    """Give the packets on an interface that match tcpdump's filter, once the watching is over.

    Unlike `overheard`, none of those that came before the filter was there, and perhaps not the
    last ones.
    """
    file = host.directory / "captured.pcap"
    argv = ["tcpdump", "--immediate-mode", "-Uni", interface, "-w", str(file), what]
    tcpdump = program.start(host, argv, "tcpdump")
    assert until(lambda: "listening on" in tcpdump.log, PATIENCE_S), tcpdump.log
    packets: list[str] = []
    yield packets
    tcpdump.stop()
    packets += host.run(["tcpdump", "-nttr", str(file)]).stdout.splitlines()


@contextlib.contextmanager
def lossy(router: Namespace, percent: int) -> Iterator[None]:
    """Lose so many packets of a hundred at random, in both directions."""
    hook = "type filter hook forward priority 0;"
    loss = f"numgen random mod 100 < {percent} drop"
    router.run(["nft", "-f", "-"], input=f"table inet loss {{ chain c {{ {hook}\n{loss}\n}}\n}}")
    try:
        yield
    finally:
        router.run(["nft", "delete table inet loss"])


def counter(host: Namespace, name: str) -> int:
    """Return one of a host's counters by nstat's name, such as TcpExtTCPSackRecovery."""
    shown = host.run(["nstat", "-asz", "--json", name]).stdout
    return int(json.loads(shown)["kernel"][name])
