"""The configuration changes while lvsd runs, and traffic that it is not about goes on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lvsd.control.client import ControlClient
from lvsd.lab import Lab, programs
from lvsd.lab.plan import BACK, DIRECTOR
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import until
from tests.netns.traffic.site import FAMILIES, Site, balanced, both, of, running
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family

PORT, OTHER, RPORT = 80, 81, 8080
STILL_S = 0.5
"""Longer than an ACK is put off, in seconds."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have two web servers."""
    with Lab(name="lvsd-reload", servers=2) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[RPORT])
        yield lab


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Run lvsd with a service on port 80."""
    before = state(lab.director)
    with running(lab, both(lab, PORT, RPORT)) as site:
        yield site
    assert changes(before, state(lab.director)) == {}


def configure(site: Site, *tables: str) -> None:
    """Write another configuration into the daemon's file."""
    text = site.daemon.config_file.read_text()
    head = text[: text.index("[[service]]")]
    site.daemon.config_file.write_text("\n".join([head, *tables]))


def counted(site: Site, family: Family) -> object:
    """Return what a service has counted, once no more comes: a last ACK may take its time."""
    seen: list[object] = [None]

    def is_still() -> bool:
        time.sleep(STILL_S)
        seen.append(site.service(f"tcp-{PORT}-{family}")["stats"])
        return seen[-1] == seen[-2]

    assert until(is_still)
    return seen[-1]


def services(site: Site) -> int:
    """Return how many services there are."""
    with ControlClient(site.daemon.control) as client:
        return sum(1 for _ in client.items("list"))


def command(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of lvsd beside the daemon."""
    start = [sys.executable, "-m", "lvsd", words[0]]
    where = ["--control", str(site.daemon.control)]
    return site.lab.director.run([*start, *where, *words[1:]], check=False)


def test_a_reload_adds_edits_and_removes_and_says_so(site: Site) -> None:
    lab = site.lab
    one = both(lab, PORT, RPORT, servers=slice(1), weights=[3])
    configure(site, one, both(lab, OTHER, RPORT))
    diff = command(site, "diff", "-c", str(site.daemon.config_file))
    assert diff.returncode == 1
    done = command(site, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, summary = done.stdout.splitlines()
    assert lines == diff.stdout.splitlines()
    assert summary.endswith("lvsd.toml: changed")
    assert len(lines) == 2 * 2 + 2 * 3  # for each family: an edit and a removal, and what is new
    for family in FAMILIES:
        assert set(site.visits(family, PORT, 4)) == {"server1"}
        assert set(site.visits(family, OTHER, 4)) == {"server1", "server2"}
    again = command(site, "reload")
    assert again.stdout.splitlines() == [f"{site.daemon.config_file}: no change"]
    assert command(site, "diff", "-c", str(site.daemon.config_file)).returncode == 0
    log = [json.loads(line) for line in site.daemon.log.splitlines()]
    assert [line["what"] for line in log if line["event"] == "changed by the reload"] == lines


def test_what_a_reload_is_not_about_goes_on_to_the_pick(site: Site, family: Family) -> None:
    lab = site.lab
    picks = site.visits(family, PORT, 2)
    visitor = Visitor(lab.client, site.vip(family), PORT)
    with closing(visitor.open(site.source(family))) as held:
        before = counted(site, family)
        configure(site, both(lab, PORT, RPORT), both(lab, OTHER, RPORT))
        assert command(site, "reload").returncode == 0
        assert site.service(f"tcp-{PORT}-{family}")["stats"] == before
        assert held.ask_again() == held.answer.server == picks[0]
        assert site.visits(family, PORT, 2) == [picks[1], picks[0]]
        assert command(site, "reload").returncode == 0
        assert site.visits(family, PORT, 2) == [picks[1], picks[0]]


def test_a_signal_reloads_as_well(site: Site) -> None:
    configure(site, both(site.lab, OTHER, RPORT))
    site.daemon.process.send_signal(signal.SIGHUP)
    assert until(lambda: "last_reload" in site.call("status")["groups"])
    last = site.call("status")["groups"]["last_reload"]
    assert (last["by"], last["result"]) == ("SIGHUP", "changed")
    assert set(site.visits("v4", OTHER, 4)) == {"server1", "server2"}
    assert "last_reload:" in site.lvsadm("--status")


def test_a_bad_file_is_said_everywhere_and_changes_nothing(lab: Lab) -> None:
    text = f'[daemon]\nlog_format = "json"\n{both(lab, PORT, RPORT)}'
    site = Site(lab, programs.lvsd(lab.director, text))
    configure(site, both(lab, PORT, RPORT).replace("weight", "wieght"))
    done = command(site, "reload")
    assert done.returncode == os.EX_CONFIG
    errors = done.stderr.splitlines()
    assert len(errors) == 4  # two servers of each family
    assert all("service.server.wieght: unknown (did you mean weight?)" in line for line in errors)
    assert site.daemon.log.count("did you mean weight?") == 4
    status = site.lvsadm("--status")
    assert "wrong configuration, nothing changed" in status
    assert "did you mean weight?" in status
    assert set(site.visits("v4", PORT, 4)) == {"server1", "server2"}
    assert site.daemon.stop() == 0


def test_another_file_than_the_daemons_is_not_loaded(site: Site) -> None:
    other = site.daemon.config_file.with_name("other.toml")
    other.write_text("")
    done = command(site, "reload", "-c", str(other))
    assert done.returncode == os.EX_UNAVAILABLE
    assert f"the daemon runs with {site.daemon.config_file}, not with {other}" in done.stderr


def test_what_lvsadm_changed_is_in_a_diff_and_undone_by_a_reload(site: Site) -> None:
    service = {"fwmark": 7}
    with ControlClient(site.daemon.control) as client:
        client.call("change", commands=[{"command": "add_service", "service": service}])
    diff = command(site, "diff", "-c", str(site.daemon.config_file))
    assert (diff.returncode, diff.stdout) == (1, "service mark 7: removed\n")
    assert command(site, "reload").stdout.splitlines()[0] == "service mark 7: removed"
    assert services(site) == 2


def test_what_runs_is_saved_as_a_file_that_loads_to_the_same(site: Site) -> None:
    commands = [
        {"command": "add_service", "service": {"fwmark": 7}},
        {
            "command": "add_server",
            "service": {"fwmark": 7},
            "server": {"address": "10.0.0.99", "port": 0, "forward": "dr"},
        },
    ]
    with ControlClient(site.daemon.control) as client:
        client.call("change", commands=commands)
    saved = command(site, "save")
    assert saved.returncode == 0
    site.daemon.config_file.write_text(saved.stdout)
    assert command(site, "diff", "-c", str(site.daemon.config_file)).stdout == ""
    assert command(site, "reload").returncode == 0
    assert services(site) == 3


SAVES = {"lvsd": ["lvsd", "save"], "lvsadm": ["lvsd.control.lvsadm", "save", "--toml"]}


def save(site: Site, program: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """Have a program save what runs, ``then`` being the rest of a shell's line."""
    words = [sys.executable, "-m", *SAVES[program], "--control", str(site.daemon.control)]
    return site.lab.director.run(["sh", "-c", f"{shlex.join(words)} {then}"], check=False)


def test_lvsadm_saves_the_same_as_lvsd(site: Site) -> None:
    saved = [save(site, program) for program in SAVES]
    assert [each.returncode for each in saved] == [0, 0]
    assert saved[0].stdout == saved[1].stdout
    assert "[[service]]" in saved[0].stdout


@pytest.mark.parametrize(("program", "status"), [("lvsd", os.EX_CANTCREAT), ("lvsadm", 1)])
def test_a_full_disk_is_a_line_and_leaves_the_file_as_it_was(
    site: Site, program: str, status: int
) -> None:
    folder = site.lab.director.directory / f"full-{program}"
    folder.mkdir()
    file = folder / "lvsd.toml"
    script = f"mount -t tmpfs -o size=4k tmpfs {folder} && echo before >{file} && "
    words = [sys.executable, "-m", *SAVES[program], "--control", str(site.daemon.control)]
    script += f"{shlex.join([*words, '-o', str(file)])}; echo $?; cat {file}; ls -A {folder}"
    done = site.lab.director.run(["unshare", "--mount", "sh", "-c", script])
    assert done.stdout.split() == [str(status), "before", "lvsd.toml"]
    assert done.stderr.rstrip().endswith(f"{file}: cannot be written: No space left on device")
    lost = save(site, program, ">/dev/full")
    assert lost.returncode == status
    assert lost.stderr.rstrip().endswith("the output cannot be written: No space left on device")


def test_virtual_addresses_come_and_go_with_their_services(site: Site) -> None:
    lab = site.lab

    def on_front() -> set[str]:
        shown = lab.director.run(["ip", "-j", "address", "show", "dev", "front"]).stdout
        found = {each["local"] for link in json.loads(shown) for each in link["addr_info"]}
        return found & {lab.vip.v4, lab.vip.v6}

    assert on_front() == set()
    configure(site, both(lab, PORT, RPORT, interface="front"))
    assert 'interface: none -> "front"' in command(site, "reload").stdout
    assert on_front() == {lab.vip.v4, lab.vip.v6}
    for family in FAMILIES:
        assert set(site.visits(family, PORT, 4)) == {"server1", "server2"}
    configure(site, both(lab, PORT, RPORT))
    assert 'interface: "front" -> none' in command(site, "reload").stdout
    assert on_front() == set()


def test_forwarding_is_switched_on_when_nat_comes(lab: Lab) -> None:
    before = state(lab.director)
    with running(lab) as site:
        assert lab.director.sysctl_value("net.ipv4.ip_forward") == "0"
        text = site.daemon.config_file.read_text()
        site.daemon.config_file.write_text(f"{text}\n{both(lab, PORT, RPORT)}")
        assert command(site, "reload").returncode == 0
        assert lab.director.sysctl_value("net.ipv4.ip_forward") == "1"
        for family in FAMILIES:
            assert set(site.visits(family, PORT, 4)) == {"server1", "server2"}
    assert changes(before, state(lab.director)) == {}


def test_forwarding_is_switched_on_when_that_is_wanted_later(lab: Lab) -> None:
    before = state(lab.director)
    with running(lab, "[sysctl]\nforwarding = false", both(lab, PORT, RPORT)) as site:
        assert lab.director.sysctl_value("net.ipv4.ip_forward") == "0"
        file = site.daemon.config_file
        file.write_text(file.read_text().replace("forwarding = false", "forwarding = true"))
        done = command(site, "reload")
        assert done.stdout.splitlines()[0] == "[sysctl]: forwarding: false -> true"
        for family in FAMILIES:
            assert set(site.visits(family, PORT, 4)) == {"server1", "server2"}
    assert changes(before, state(lab.director)) == {}


def test_a_reload_while_an_engine_is_replaced_is_done_by_the_next_one(lab: Lab) -> None:
    text = f'[daemon]\nlog_format = "json"\n{both(lab, PORT, RPORT)}'
    site = Site(lab, programs.lvsd(lab.director, text))
    configure(site, both(site.lab, OTHER, RPORT))
    os.kill(site.daemon.engine, signal.SIGKILL)
    assert command(site, "reload").returncode == 0
    assert services(site) == 2
    assert set(site.visits("v4", OTHER, 4)) == {"server1", "server2"}
    assert site.daemon.stop() == 0


def test_local_ports_are_reserved_when_fullnat_comes_and_given_back_at_the_end(lab: Lab) -> None:
    name = "net.ipv4.ip_local_reserved_ports"
    before = state(lab.director)
    local = {family: [of(BACK.host(DIRECTOR), family)] for family in FAMILIES}
    with running(lab, "[sysctl]\nreserve_local_ports = false", both(lab, PORT, RPORT)) as site:
        assert lab.director.sysctl_value(name) == ""
        fullnat = [
            balanced(
                *(lab, family, OTHER, RPORT),
                forward="fullnat",
                local_addresses=local[family],
                local_ports="40000-40009",
            )
            for family in FAMILIES
        ]
        configure(site, both(lab, PORT, RPORT), *fullnat)
        assert command(site, "reload").returncode == 0
        assert lab.director.sysctl_value(name) == ""
        file = site.daemon.config_file
        file.write_text(file.read_text().replace("ports = false", "ports = true"))
        assert command(site, "reload").returncode == 0
        assert lab.director.sysctl_value(name) == "40000-40009"
        configure(site, both(lab, PORT, RPORT), *(each.replace("009", "019") for each in fullnat))
        assert command(site, "reload").returncode == 0
        assert lab.director.sysctl_value(name) == "40000-40019"
        for family in FAMILIES:
            assert set(site.visits(family, OTHER, 4)) == {"server1", "server2"}
    assert changes(before, state(lab.director)) == {}


def test_another_log_level_holds_in_the_daemon_and_in_its_engines(lab: Lab) -> None:
    text = f'[daemon]\nlog_format = "json"\nlog_level = "error"\n{both(lab, PORT, RPORT)}'
    site = Site(lab, programs.lvsd(lab.director, text))
    assert '"event": "ready"' not in site.daemon.log
    file = site.daemon.config_file
    file.write_text(file.read_text().replace('"error"', '"debug"'))
    assert command(site, "reload").returncode == 0
    assert '"event": "reloaded"' in site.daemon.log
    os.kill(site.daemon.engine, signal.SIGKILL)
    assert until(lambda: "another engine is at work" in site.daemon.log)
    assert site.daemon.stop() == 0
    assert '"event": "stopped"' in site.daemon.log
