"""Whoever of lvsd's processes is killed: there is an engine again, or nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.engine.priority import NICENESS
from lvsd.errors import KernelError
from lvsd.lab import Lab, programs
from lvsd.lab.wait import until
from tests.netns.traffic.site import Site, both, of
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family

PORT, RPORT = 80, 8080


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have two web servers."""
    with Lab(name="lvsd-killed-engine", servers=2) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[RPORT])
        yield lab


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Run lvsd by direct routing and by NAT."""
    text = both(lab, PORT, RPORT, interface="front")
    daemon = programs.lvsd(lab.director, f'[daemon]\nlog_format = "json"\n{text}')
    yield Site(lab, daemon)
    daemon.process.kill()
    daemon.stop()


def has_ended(process: int) -> bool:
    """Whether nothing is left of a process but what init has to look at."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def niceness(process: int) -> int:
    """Return how nice a process is to others (sched(7))."""
    return os.getpriority(os.PRIO_PROCESS, process)


def answers(site: Site, family: Family) -> bool:
    """Whether a client gets a page."""
    try:
        return site.get(family, PORT).server in {"server1", "server2"}
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_another_engine_takes_over_and_clients_are_served(
    site: Site, family: Family, number: signal.Signals
) -> None:
    assert answers(site, family)
    first = site.daemon.engine
    assert niceness(first) - niceness(site.daemon.process.pid) == NICENESS
    os.kill(first, number)
    assert until(lambda: _other_engine(site, first))
    assert until(lambda: answers(site, family))
    assert niceness(site.daemon.engine) - niceness(site.daemon.process.pid) == NICENESS
    assert site.call("status")["groups"]["engine"]["replaced"] == 1
    assert f"by {number.name}" in site.daemon.log
    assert site.daemon.stop() == 0


def test_another_engine_has_what_was_changed_since_the_start(site: Site, family: Family) -> None:
    web = {"protocol": "tcp", "address": site.vip(family), "port": PORT}
    change = {"command": "remove_server", "service": web}
    for each in site.lab.servers[:1]:
        there = {"address": of(each.addresses, family), "port": RPORT}
        site.call("change", commands=[change | {"server": there}])
    first = site.daemon.engine
    os.kill(first, signal.SIGKILL)
    assert until(lambda: _other_engine(site, first))
    assert until(lambda: answers(site, family))
    assert set(site.visits(family, PORT, 4)) == {"server2"}
    assert site.daemon.stop() == 0


def _other_engine(site: Site, first: int) -> bool:
    try:
        return site.daemon.engine != first
    except (OSError, ValueError):
        return False


def test_engines_that_die_in_a_loop_end_the_daemon_which_puts_everything_back(lab: Lab) -> None:
    before = state(lab.director)
    daemon = programs.lvsd(lab.director, both(lab, PORT, RPORT, interface="front"))
    site = Site(lab, daemon)

    def killed_once_more() -> bool:
        with suppress(OSError, ValueError):
            os.kill(daemon.engine, signal.SIGKILL)
        return daemon.process.poll() is not None

    assert until(killed_once_more)
    assert daemon.process.returncode == os.EX_SOFTWARE
    assert "engines ended within 60 s" in site.daemon.log
    assert changes(before, state(lab.director)) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_daemon(lab: Lab, number: signal.Signals) -> None:
    daemon = programs.lvsd(lab.director, both(lab, PORT, RPORT))
    engine = daemon.engine
    forker = forker_of(engine)
    daemon.process.send_signal(number)
    daemon.process.wait()
    assert until(lambda: has_ended(engine) and has_ended(forker))
    if number == signal.SIGTERM:
        assert daemon.process.returncode == 0
    else:
        lab.director.run(["nft", "delete table inet lvsd_guard"], check=False)


def forker_of(engine: int) -> int:
    """Return the process that forked an engine."""
    return int(Path(f"/proc/{engine}/stat").read_text("ascii").rpartition(")")[2].split()[1])


@pytest.fixture
def orphan(lab: Lab) -> Iterator[int]:
    """Kill an lvsd whose engine hangs, and stop what would kill that."""
    daemon = programs.lvsd(lab.director, both(lab, PORT, RPORT))
    engine = daemon.engine
    forker = forker_of(engine)
    for process in (engine, forker):
        os.kill(process, signal.SIGSTOP)
    daemon.process.kill()
    daemon.process.wait()
    yield engine
    with suppress(ProcessLookupError):
        os.kill(engine, signal.SIGKILL)
    os.kill(forker, signal.SIGCONT)
    assert until(lambda: has_ended(engine) and has_ended(forker))


def test_a_start_waits_for_the_hanging_engine_of_an_lvsd_that_was_killed(
    lab: Lab, orphan: int
) -> None:
    director = lab.director
    log = director.directory / "next.log"
    with log.open("wb") as written:
        command: list[str | Path] = [sys.executable, "-m", "lvsd", "-c"]
        file = director.directory / "lvsd.toml"
        daemon = director.spawn([*command, file], stdout=written, stderr=written)
    waits = '"event": "waiting for the engine of an lvsd that was killed to end"'
    assert until(lambda: waits in log.read_text("utf-8"))
    assert f'"process": {orphan},' in log.read_text("utf-8")
    os.kill(orphan, signal.SIGKILL)
    try:
        assert until(lambda: '"event": "ready"' in log.read_text("utf-8"))
    finally:
        daemon.terminate()
    assert daemon.wait() == 0


def test_a_start_beside_an_engine_that_stays_says_how_to_end_it(lab: Lab, orphan: int) -> None:
    with pytest.raises(KernelError) as refused:
        programs.lvsd(lab.director, both(lab, PORT, RPORT))
    assert f"does not end, pid {orphan}; end it by `kill -9 {orphan}`" in str(refused.value)
    lab.director.run(["nft", "delete table inet lvsd_guard"], check=False)
