"""Whenever an lvsd is killed, the next one starts, and leaves everything as the first found it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.settings import completed
from lvsd.lab.wait import until
from tests.netns.traffic.site import both, running
from tests.netns.traffic.state import changes, ruleset, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

PORT, RPORT = 80, 8080
KILLS = 4
"""How often to kill it while it starts, and how often while it stops."""
STOP_S = 0.04
"""About how long a stop takes: with the kills before and after, whatever it takes here."""

OTHER_READER = """
import sys, time
from lvsd.io.nfqueue import QueueSource
source = QueueSource(7, print, clock=time.monotonic)
source.open()
print("!", end="", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Start from a director with one server behind it."""
    with Lab(name="lvsd-killed", servers=1) as lab:
        programs.nginx(lab.servers[0], ports=[RPORT])
        yield lab


def tables(lab: Lab) -> str:
    return both(lab, PORT, RPORT, interface="front")


def begin(lab: Lab, control: Path) -> Popen[bytes]:
    """Start lvsd and do not wait for it."""
    file = control.with_suffix(".toml")
    file.write_text(
        completed(f"[daemon]\nhold_s = 10\n{tables(lab)}", control)[0], encoding="utf-8"
    )
    with control.with_suffix(".log").open("wb") as log:
        command: list[str | Path] = [sys.executable, "-m", "lvsd", "-c", file]
        return lab.director.spawn(command, stdout=log, stderr=log)


def is_ready(control: Path) -> bool:
    return " ready " in control.with_suffix(".log").read_text(encoding="utf-8").replace('"', " ")


def kill(process: Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_whenever_it_is_killed_the_next_one_clears_up(lab: Lab) -> None:
    before = state(lab.director)
    control = lab.director.directory / "lvsd.sock"

    began = time.monotonic()
    process = begin(lab, control)
    assert until(lambda: is_ready(control))
    start_s = time.monotonic() - began
    kill(process)

    left = 0
    for number in range(KILLS):
        process = begin(lab, control)
        time.sleep(start_s * (0.1 + number / KILLS))
        kill(process)
        left += changes(before, state(lab.director)) != {}
    for number in range(KILLS):
        process = begin(lab, control)
        assert until(lambda: is_ready(control)), control.with_suffix(".log").read_text("utf-8")
        process.terminate()
        time.sleep(STOP_S * number / KILLS)
        kill(process)

    assert left > 0  # some were killed late enough to leave something
    with running(lab, tables(lab)) as site:
        assert site.visits("v4", PORT, 2) == ["server1"] * 2
    assert changes(before, state(lab.director)) == {}


def test_a_start_clears_a_table_without_a_journal_and_says_so(lab: Lab) -> None:
    director = lab.director
    killed = programs.lvsd(director, tables(lab))
    kill(killed.process)
    (journal,) = killed.control.parent.glob("journal-*")
    journal.unlink()
    try:
        with running(lab, tables(lab)) as site:
            assert "took over nftables table inet lvsd_guard" in site.daemon.log
            assert site.visits("v4", PORT, 2) == ["server1"] * 2
        assert ruleset(director) == []
    finally:  # without a journal nobody knows what else was changed
        director.ip(*(f"address del {each} dev front" for each in (lab.vip.v4, lab.vip.v6)))
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            director.sysctl(name, "0")


def test_another_programs_queue_does_not_keep_a_start_from_clearing_up(lab: Lab) -> None:
    director = lab.director
    killed = programs.lvsd(director, tables(lab))
    kill(killed.process)
    other = director.spawn([sys.executable, "-c", OTHER_READER], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.read(1) == b"!"
    try:
        with running(lab, tables(lab)) as site:
            assert site.visits("v4", PORT, 2) == ["server1"] * 2
    finally:
        kill(other)
