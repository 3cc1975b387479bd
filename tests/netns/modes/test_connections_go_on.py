"""Whatever ends lvsd, and starts it again: connections go on, and clients get no RST."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.load import Load
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, captured, forwarded
from tests.netns.traffic.site import Site, complaints
from tests.netns.traffic.state import ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.lab import Namespace

WEB = 80
WAYS = ("nat", "fullnat")
ENDS = ("the engine is killed", "all is killed and started", "it is stopped and started")
GOES_ON = '"event": "connections of the lvsd before go on"'
RESETS = "inbound and (tcp[13] & 4 != 0 or (ip6[6] = 6 and ip6[53] & 4 != 0))"
"""What the client gets when somebody refuses a packet of its."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have a real server for each way."""
    with Lab(name="lvsd-modes", ways=WAYS) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[MAPPED])
        yield lab


def config(lab: Lab, way: str, *, local: bool, hold_s: int = 30) -> str:
    own: dict[str, Any] = {"interface": "front"} if local else {}
    daemon = f'[daemon]\nlog_format = "json"\nhold_s = {hold_s}\n'
    return daemon + forwarded(lab, way, WEB, rport=MAPPED, **own)


def forget(director: Namespace) -> None:
    """Have nothing left of the lvsd before."""
    for state in director.directory.glob("state-*"):
        state.unlink()
    for table in ("lvsd_hold", "lvsd_guard"):
        director.run(["nft", f"delete table inet {table}"], check=False)


@contextlib.contextmanager
def serving(lab: Lab, text: str) -> Iterator[programs.Daemon]:
    """Run lvsd; clear up after whatever the test made of it."""
    daemon = programs.lvsd(lab.director, text)
    try:
        yield daemon
    finally:
        daemon.stop()
        forget(lab.director)


def other_engine(daemon: programs.Daemon, first: int) -> bool:
    try:
        return daemon.engine != first
    except (OSError, ValueError):
        return False


@pytest.mark.parametrize("local", [True, False], ids=["VIP of the host", "VIP of nobody"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_connections_go_on_whatever_ends_the_daemon_and_nobody_gets_a_reset(
    lab: Lab, way: str, end: str, *, local: bool
) -> None:
    text = config(lab, way, local=local)
    load = Load(lab.client, (lab.vip.v4, lab.vip.v6), programs.payload(lab.client), port=WEB)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(serving(lab, text))
        with captured(lab.client, "eth0", RESETS) as resets:
            load.start()
            if end == ENDS[0]:
                first = daemon.engine
                os.kill(first, signal.SIGKILL)
                assert until(lambda: other_engine(daemon, first))
                assert until(lambda: GOES_ON in daemon.log)
            else:
                if end == ENDS[1]:
                    daemon.process.kill()
                    daemon.process.wait()
                else:
                    assert daemon.stop() == 0
                daemon = stack.enter_context(serving(lab, text))
            outcome = load.stop()
        load.close()
        assert (outcome.downloads, outcome.idle, outcome.broken) == (10, 10, [])
        assert outcome.waits_s
        assert GOES_ON in daemon.log
        assert "were dropped" not in daemon.log
    assert resets == []


def test_what_was_diverted_is_dropped_after_a_stop_for_so_long_and_no_longer(lab: Lab) -> None:
    director = lab.director
    with serving(lab, config(lab, "nat", local=True, hold_s=3)) as daemon:
        assert daemon.stop() == 0
        assert until(lambda: not _held(director))
        tables = {each["table"]["name"] for each in ruleset(director) if "table" in each}
        assert tables == {"lvsd_hold"}


def _held(director: Namespace) -> list[str]:
    """Return the sets of the hold that have elements."""
    return [
        each["set"]["name"]
        for each in ruleset(director)
        if "set" in each and each["set"]["table"] == "lvsd_hold" and each["set"].get("elem")
    ]


def test_a_stop_holds_what_was_diverted_and_the_next_start_lets_go_of_it(lab: Lab) -> None:
    director = lab.director
    with serving(lab, config(lab, "fullnat", local=True, hold_s=600)) as daemon:
        assert daemon.stop() == 0
        assert {"services4", "services6", "fullnat_servers4", "lips6"} <= set(_held(director))
        with serving(lab, config(lab, "fullnat", local=True)) as second:
            tables = {each["table"]["name"] for each in ruleset(director) if "table" in each}
            assert tables == {"lvsd", "lvsd_guard"}
            assert complaints(second.log_file) == []


def test_without_room_for_the_state_clients_are_served_and_a_stop_resets_them(
    lab: Lab, tmp_path: Path
) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k,mode=755", "lvsd-test", str(tmp_path)]
    subprocess.run(mount, check=True)
    try:
        text = config(lab, "fullnat", local=True)
        text = text.replace("[daemon]", f'[daemon]\ncontrol = "{tmp_path}/control.sock"', 1)
        with serving(lab, text) as daemon:
            visitor = Visitor(lab.client, lab.vip.v4, WEB)
            held = visitor.open(lab.client.addresses.v4)
            assert daemon.log.count("connections are not kept for a restart") == 1
            assert "No space left on device" in daemon.log
            assert daemon.stop() == 0
            with pytest.raises(ConnectionResetError):
                held.http.sock.recv(1)
            held.close()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_stop_without_hold_leaves_nothing_and_the_next_start_knows_nothing(lab: Lab) -> None:
    with serving(lab, config(lab, "nat", local=True, hold_s=0)) as daemon:
        assert Site(lab, daemon).get("v4", WEB).server
        assert daemon.stop() == 0
        assert ruleset(lab.director) == []
        assert list(lab.director.directory.glob("state-*")) == []
        with serving(lab, config(lab, "nat", local=True)) as second:
            assert "no lvsd left a state" in second.log
            assert Site(lab, second).connections == []
