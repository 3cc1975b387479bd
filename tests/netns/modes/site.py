"""Services of all four modes, and what a director sent while they were used."""

from __future__ import annotations

import contextlib
import hashlib
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
def overheard(host: Namespace, interface: str, direction: str, what: str) -> Iterator[Overheard]:
    """Count the packets that an interface receives (in) or sends (out), by tcpdump's filter."""
    argv = ["tcpdump", "-ni", interface, "-Q", direction, "-w", "/dev/null", what]
    tcpdump = program.start(host, argv, f"tcpdump-{interface}-{direction}")
    assert until(lambda: "listening on" in tcpdump.log, PATIENCE_S), tcpdump.log
    count = Overheard()
    yield count
    tcpdump.stop()
    [captured, filtered] = [
        int(number)
        for pattern in (r"(\d+) packets? captured", r"(\d+) packets? dropped by kernel")
        for number in re.findall(pattern, tcpdump.log)
    ]
    count.packets = captured + filtered
