"""An upload through a tunnel where nobody is told that a packet was too big.

::

    client ---- director ---- router ---- real server     every link takes 1500 bytes
      ^ no ICMP errors come in     ^ passes on no ICMP, and says none

Without a limit the client sends segments of 1460 bytes, which fit everywhere but into the tunnel,
and never learns why nobody acknowledges them.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from lvsd.lab import Lab, programs, settings
from lvsd.lab.notify import start_and_wait
from lvsd.lab.program import start
from lvsd.lab.settings import RealServer, Service
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import FAMILIES, PATIENCE_S, of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family

BYTES: Final = 5_000_000
PORT: Final = 80
ERRORS4: Final = "icmp type { destination-unreachable, time-exceeded, parameter-problem }"
ERRORS6: Final = (
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }"
)
SYNS: Final = f"port {PORT} and (tcp[13] & 2 != 0 or ip6[53] & 2 != 0)"
FIRST: Final = {"v4": [1460, 1420], "v6": [1440, 1400]}
"""What SYN and SYN-ACK say: as the links let, and what a tunnel over IPv6 leaves of that."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a lab with a TUN service whose client hears of no error."""
    with Lab(name="lvsd-mss", ways=("tun",)) as lab:
        programs.nginx(lab.servers[0], ports=[PORT])
        for host, hook, matches in (
            (lab.client, "input", (ERRORS4, ERRORS6)),
            (lab.router, "forward", ("meta l4proto { 1, 58 }",)),
            (lab.router, "output", (ERRORS4, ERRORS6)),
        ):
            silence(host, hook, matches)
        services = [
            Service(
                f"web-{family}",
                settings.at(of(lab.vip, family), PORT),
                (RealServer(settings.at(of(lab.servers[0].addresses, family), PORT)),),
                forward="tun",
            )
            for family in FAMILIES
        ]
        programs.lvsd(lab.director, settings.toml(services, lab.directory / "lvsd.sock"))
        yield lab


def silence(host: Namespace, hook: str, matches: tuple[str, ...]) -> None:
    """Have a host drop such packets in a hook of its way."""
    rules = "\n".join(f"add rule inet silence {hook} {match} drop" for match in matches)
    chain = f"add chain inet silence {hook} {{ type filter hook {hook} priority 0; }}"
    host.run(["nft", "-f", "-"], input=f"add table inet silence\n{chain}\n{rules}\n")


@contextmanager
def real_server(lab: Lab, *words: str) -> Iterator[None]:
    """Have the real server up in the block, told what the director's address is."""
    (server,) = lab.servers
    realserver = [sys.executable, "-m", "lvsd", "realserver"]
    state = ["--state", str(server.directory / "realserver")]
    director = lab.director.interface("back")
    told = ["--vip", lab.vip.v4, "--vip", lab.vip.v6, "--from", director.v4, "--from", director.v6]
    up = [*realserver, "up", *state, "--mode", "tun", *told, *words]
    start_and_wait(server, up, "realserver", may_end=True)
    try:
        yield
    finally:
        server.run([*realserver, "down", *state])


@contextmanager
def said_mss(lab: Lab) -> Iterator[list[int]]:
    """Have tcpdump watch the client's link; after the block: the MSS of SYN and SYN-ACK."""
    found: list[int] = []
    tcpdump = start(lab.client, ["tcpdump", "-nlvi", "eth0", SYNS], "tcpdump")
    assert until(lambda: "listening on" in tcpdump.log, PATIENCE_S), tcpdump.log
    yield found
    assert until(lambda: len(said(tcpdump.log)) >= 2, PATIENCE_S), tcpdump.log
    tcpdump.stop()
    found += said(tcpdump.log)


def said(log: str) -> list[int]:
    """Return the MSS of each SYN that tcpdump has printed."""
    return [int(mss) for mss in re.findall(r"Flags \[S\.?\].*?\bmss (\d+)", log)]


def url(lab: Lab, family: Family, path: str) -> str:
    return f"http://{settings.at(of(lab.vip, family), PORT)}{path}"


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_has_an_upload_of_5_mb_come_through(lab: Lab, family: Family, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(random.Random(family).randbytes(BYTES))
    with real_server(lab, "--mss", "auto"), said_mss(lab) as mss:
        target = url(lab, family, f"/upload/{family}")
        lab.client.run(["curl", "-fsS", "-m", f"{30 * PATIENCE:g}", "-T", file, target])
    assert mss == FIRST[family]
    arrived = programs.uploaded(lab.servers[0], family)
    assert sha256(arrived) == sha256(file)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_it_the_syn_ack_says_what_the_link_takes(lab: Lab, family: Family) -> None:
    with real_server(lab), said_mss(lab) as mss:
        lab.client.run(["curl", "-fsS", "-m", f"{30 * PATIENCE:g}", url(lab, family, "/")])
    assert mss == [FIRST[family][0]] * 2


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
