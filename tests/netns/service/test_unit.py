"""The units under systemd: a typo costs one failure, and nothing is left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lvsd.engine.priority import NICENESS
from lvsd.lab.wait import until
from tests.netns.service.manager import TIMEOUT_S

if TYPE_CHECKING:
    from tests.netns.service.manager import Manager

GOOD = """
[[service]]
name = "web"
address = "203.0.113.10:80"
protocol = "tcp"
interface = "front"
[[service.server]]
address = "10.0.0.11:8080"
"""
TYPOS = GOOD.replace("protocol", "protokol").replace(":8080", "")
UNREADABLE = GOOD + "[[service.server]\n"


def left(systemd: Manager) -> list[str]:
    """Return what of lvsd's changes the machine still has."""
    script = """
        nft list table inet lvsd >/dev/null 2>&1 && echo table
        ip -o address show dev front | grep -q 203.0.113.10 && echo address
        [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] && echo forwarding
        ls /run/lvsd | grep journal
    """
    return systemd.run("sh", "-c", script).stdout.split()


def restarts(systemd: Manager, unit: str = "lvsd") -> int:
    """Return how often systemd tried again by itself."""
    return int(systemd.shows(unit, "NRestarts"))


def test_a_typo_and_a_restart_are_one_failure_and_one_line_per_error(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    systemd.configure(TYPOS)
    systemd.forget()
    assert systemd.systemctl("restart", "lvsd").returncode != 0
    systemd.settled("lvsd", "failed")
    assert systemd.shows("lvsd", "Result") == "exit-code"
    assert systemd.shows("lvsd", "ExecMainStatus") == "78"
    assert restarts(systemd) == 0
    errors = [line for line in systemd.said() if "lvsd.toml:" in line]
    assert len(errors) == len(set(errors)) == 3, systemd.said()
    assert left(systemd) == []


def test_a_repaired_configuration_starts_at_once(systemd: Manager) -> None:
    systemd.configure(TYPOS)
    assert systemd.systemctl("restart", "lvsd").returncode != 0
    systemd.settled("lvsd", "failed")
    systemd.configure(GOOD)
    done = systemd.systemctl("start", "lvsd")
    assert (done.returncode, done.stderr) == (0, "")
    assert systemd.shows("lvsd", "ActiveState") == "active"


def test_a_daemon_killed_over_a_broken_configuration_leaves_nothing(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    assert {"table", "address", "forwarding"} < set(left(systemd))
    systemd.configure(UNREADABLE)
    assert systemd.systemctl("kill", "--signal=KILL", "lvsd").returncode == 0
    systemd.settled("lvsd", "failed")
    assert left(systemd) == []


def test_the_engine_goes_before_other_programs(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    script = """
        child() { cat /proc/$1/task/$1/children; }
        for process in $1 $(child $(child $1)); do cut -d " " -f 19 /proc/$process/stat; done
    """
    supervisor = systemd.shows("lvsd", "MainPID")
    niceness = systemd.run("sh", "-c", script, "sh", supervisor).stdout.split()
    # A container whose root lacks CAP_SYS_RESOURCE cannot give what LimitNICE= says.
    can_give = not systemd.run("prlimit", f"--nice={20 - NICENESS}", "true").returncode
    assert niceness == ["0", str(NICENESS if can_give else 0)]
    assert systemd.shows("lvsd", "LimitNICE") == str(20 - NICENESS)


def services(systemd: Manager) -> list[str]:
    """Return the virtual services that there are."""
    listed = systemd.run("lvsd", "save").stdout
    return [line.partition(" = ")[2] for line in listed.splitlines() if line.startswith("name")]


def test_a_reload_puts_the_file_in_force_without_a_restart(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    before = systemd.shows("lvsd", "MainPID")
    systemd.forget()
    systemd.configure(GOOD + GOOD.replace("web", "mail").replace(":80", ":25"))
    done = systemd.systemctl("reload", "lvsd")
    assert (done.returncode, done.stderr) == (0, "")
    assert systemd.shows("lvsd", "ActiveState") == "active"
    assert systemd.shows("lvsd", "SubState") == "running"
    assert systemd.shows("lvsd", "MainPID") == before
    assert services(systemd) == ['"web"', '"mail"']
    assert systemd.shows("lvsd", "StatusText").endswith(": changed")
    assert [line for line in systemd.said() if "service mail: added" in line]


def test_a_reload_of_a_bad_file_fails_says_every_error_and_changes_nothing(
    systemd: Manager,
) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    before = systemd.shows("lvsd", "MainPID")
    systemd.configure(TYPOS)
    systemd.forget()
    done = systemd.systemctl("reload", "lvsd")
    assert done.returncode != 0
    assert systemd.shows("lvsd", "SubState") == "running"
    assert systemd.shows("lvsd", "MainPID") == before
    assert systemd.shows("lvsd", "Result") == "success"
    assert systemd.shows("lvsd", "StatusText").endswith("wrong configuration, nothing changed")
    said = map(json.loads, systemd.said())
    *errors, summary = [each for each in said if each["level"] == "error"]
    assert [each["key"] for each in errors] == [
        "service.protocol",
        "service.protokol",
        "service.server.address",
    ]
    assert summary["result"] == "wrong configuration, nothing changed"
    assert services(systemd) == ['"web"']
    systemd.configure(GOOD)
    assert systemd.systemctl("reload", "lvsd").returncode == 0


def test_a_signal_alone_brings_the_unit_back_from_reloading(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    systemd.configure(TYPOS)
    systemd.systemctl("kill", "--kill-whom=main", "--signal=HUP", "lvsd")
    wrong = "wrong configuration, nothing changed"
    assert until(lambda: systemd.shows("lvsd", "StatusText").endswith(wrong), TIMEOUT_S)
    assert until(lambda: systemd.shows("lvsd", "SubState") == "running", TIMEOUT_S)


def test_an_upgrade_is_a_reload_to_systemd_and_the_main_process_stays(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    before = systemd.shows("lvsd", "MainPID"), systemd.shows("lvsd", "NRestarts")
    done = systemd.run("lvsd", "upgrade")
    assert (done.returncode, done.stderr) == (0, ""), systemd.said()
    assert done.stdout.endswith(" ms\n")
    assert until(lambda: systemd.shows("lvsd", "SubState") == "running", TIMEOUT_S)
    assert systemd.shows("lvsd", "ActiveState") == "active"
    assert (systemd.shows("lvsd", "MainPID"), systemd.shows("lvsd", "NRestarts")) == before
    assert services(systemd) == ['"web"']
    assert systemd.systemctl("reload", "lvsd").returncode == 0
    assert systemd.systemctl("stop", "lvsd").returncode == 0
    assert left(systemd) == []


def test_a_program_that_is_not_there_is_not_tried_again(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.run("mount", "--bind", "/dev/null", "/usr/bin/lvsd")
    try:
        assert systemd.systemctl("start", "lvsd").returncode != 0
        systemd.settled("lvsd", "failed")
        assert restarts(systemd) == 0
    finally:
        systemd.run("umount", "/usr/bin/lvsd")


def test_a_killed_daemon_is_started_again_and_its_rules_stay_meanwhile(systemd: Manager) -> None:
    systemd.configure(GOOD)
    systemd.start("lvsd")
    before = systemd.shows("lvsd", "MainPID")
    systemd.systemctl("kill", "--signal=KILL", "lvsd")
    assert until(lambda: systemd.shows("lvsd", "MainPID") not in {before, "0"}, TIMEOUT_S)
    systemd.settled("lvsd", "active")
    assert restarts(systemd) == 1
    assert {"table", "address", "forwarding"} < set(left(systemd))
    assert systemd.systemctl("stop", "lvsd").returncode == 0
    assert left(systemd) == []


def test_a_real_server_without_options_is_one_failure_that_names_the_missing_one(
    systemd: Manager,
) -> None:
    (systemd.root / "etc/lvsd/realserver.conf").unlink(missing_ok=True)
    assert systemd.systemctl("start", "lvsd-realserver").returncode != 0
    systemd.settled("lvsd-realserver", "failed")
    assert restarts(systemd, "lvsd-realserver") == 0
    assert "--mode" in "".join(systemd.said())


def test_a_real_server_killed_over_broken_options_leaves_nothing(systemd: Manager) -> None:
    systemd.configure("OPTIONS=--mode tun --by lvsd --vip 203.0.113.10\n", "realserver.conf")
    systemd.start("lvsd-realserver")
    assert "203.0.113.10" in systemd.run("ip", "address", "show", "lo").stdout
    systemd.configure("OPTIONS=--mode tan\n", "realserver.conf")
    systemd.systemctl("kill", "--signal=KILL", "lvsd-realserver")
    systemd.settled("lvsd-realserver", "failed")
    assert "203.0.113.10" not in systemd.run("ip", "address", "show", "lo").stdout
