"""However lvsd ends, the machine is afterwards as it was before."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import FAMILIES, Site, balanced, both, complaints
from tests.netns.traffic.state import changes, ruleset, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess
    from typing import Any

    from lvsd.lab import Namespace

PORT, PORT_ON_INTERFACE = 80, 81

OPERATOR = """
table inet operator {
    set admins { type ipv4_addr; elements = { 192.0.2.200 } }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ip saddr @admins counter
    }
}
table ip lvsd {
    chain not_of_lvsd { counter; }
}
"""
"""What was there before: also a table with our name, but of another family."""


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """Have a director with an operator's own settings on it."""
    with Lab(name="lvsd-traffic", servers=1) as lab:
        director = lab.director
        programs.nginx(lab.servers[0], ports=[8080])
        director.run(["nft", "-f", "-"], input=OPERATOR)
        director.ip("address add 192.0.2.250/24 dev front", "rule add fwmark 99 lookup 99")
        director.sysctl("net.ipv4.conf.all.accept_redirects", "0")
        director.sysctl("net.ipv4.conf.front.forwarding", "1")
        yield lab


@pytest.fixture
def lab(built: Lab) -> Iterator[Lab]:
    """Want everything as it was after every test, so that each finds what the first one found."""
    before = state(built.director)
    yield built
    assert changes(before, state(built.director)) == {}
    assert files(built.director) == set()


def config(lab: Lab) -> str:
    """Return services whose addresses lvsd puts on an interface, and others."""
    onto = [
        balanced(lab, family, PORT_ON_INTERFACE, 8080, interface="front") for family in FAMILIES
    ]
    return "\n".join(["[daemon]", 'log_format = "json"', both(lab, PORT, 8080), *onto])


def start(lab: Lab) -> Site:
    site = Site(lab, programs.lvsd(lab.director, config(lab)))
    for family in FAMILIES:
        assert site.visits(family, PORT, 2) == ["server1"] * 2
    return site


def kill(site: Site) -> None:
    site.daemon.process.kill()
    assert site.daemon.process.wait(60 * PATIENCE) == -signal.SIGKILL


def lvsd(host: Namespace, *arguments: object) -> CompletedProcess[str]:
    return host.run([sys.executable, "-m", "lvsd", *map(str, arguments)], check=False)


def files(host: Namespace) -> set[str]:
    """Return what lies beside the control socket, but for the lab's own, and the secret.

    That stays until a reboot: FULLNAT's numbers begin with it.
    """
    own = {"lvsd.toml", "lvsd.log", "lvsd.notify", "lvsd.pid", "secret"}
    return {path.name for path in host.directory.iterdir()} - own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda it: it.name)
def test_a_signal_ends_lvsd_with_status_zero_and_without_a_trace(
    lab: Lab, number: signal.Signals
) -> None:
    before = state(lab.director)
    site = start(lab)
    target = lab.client.directory / f"down-{number.name}"
    download = lab.client.spawn(
        ["curl", "-s", "--limit-rate", "5M", "-N", "-o", target, site.url("v4", PORT, "/file")]
    )
    assert until(lambda: target.exists() and target.stat().st_size > 0)

    site.daemon.process.send_signal(number)

    assert site.daemon.process.wait(60 * PATIENCE) == os.EX_OK
    assert changes(before, state(lab.director)) == {}
    assert files(lab.director) == set()
    assert complaints(site.daemon.log_file) == []
    download.terminate()
    download.wait(60 * PATIENCE)
    assert target.stat().st_size < programs.FILE_BYTES  # it was in the midst of it


def test_while_it_runs_only_its_own_tables_are_added(lab: Lab) -> None:
    before = ruleset(lab.director)
    site = start(lab)

    during = ruleset(lab.director)

    def table_of(entry: dict[str, Any]) -> tuple[str, str]:
        [(kind, body)] = entry.items()
        return body["family"], body["name"] if kind == "table" else body["table"]

    added = {table_of(entry) for entry in during if entry not in before}
    assert [entry for entry in before if entry not in during] == []
    assert added == {("inet", "lvsd"), ("inet", "lvsd_guard")}
    site.daemon.stop()


def test_cleanup_removes_what_a_killed_daemon_left(lab: Lab) -> None:
    before = state(lab.director)
    site = start(lab)
    kill(site)
    assert changes(before, state(lab.director)) != {}

    cleaned = lvsd(lab.director, "cleanup", "--control", site.daemon.control)

    assert (cleaned.returncode, cleaned.stderr) == (os.EX_OK, "")
    assert "nftables table inet lvsd" in cleaned.stdout
    assert site.vip("v4") in cleaned.stdout
    assert "net.ipv4.ip_forward" in cleaned.stdout
    assert changes(before, state(lab.director)) == {}


def test_a_second_cleanup_finds_nothing(lab: Lab) -> None:
    site = start(lab)
    kill(site)
    lvsd(lab.director, "cleanup", "--control", site.daemon.control)

    again = lvsd(lab.director, "cleanup", "--control", site.daemon.control)

    assert (again.returncode, again.stdout) == (os.EX_OK, "nothing was left behind\n")


def test_cleanup_leaves_a_living_daemon_alone(lab: Lab) -> None:
    site = start(lab)

    refused = lvsd(lab.director, "cleanup", "--control", site.daemon.control)

    assert refused.returncode == os.EX_OSERR
    assert refused.stderr.count("\n") == 1
    assert f"pid {site.daemon.process.pid}" in refused.stderr
    assert site.visits("v4", PORT, 2) == ["server1"] * 2
    assert site.daemon.stop() == os.EX_OK


def test_cleanup_in_the_wrong_directory_leaves_a_living_daemon_alone(
    lab: Lab, tmp_path: Path
) -> None:
    site = start(lab)

    refused = lvsd(lab.director, "cleanup", "--directory", tmp_path)

    assert refused.returncode == os.EX_OSERR
    assert refused.stderr.count("\n") == 1
    assert f"pid {site.daemon.process.pid}" in refused.stderr
    assert site.visits("v4", PORT, 2) == ["server1"] * 2
    assert site.daemon.stop() == os.EX_OK


def test_a_new_start_takes_over_from_a_killed_daemon(lab: Lab) -> None:
    before = state(lab.director)
    kill(start(lab))

    site = start(lab)

    assert site.daemon.stop() == os.EX_OK
    assert changes(before, state(lab.director)) == {}
    assert files(lab.director) == set()
    assert complaints(site.daemon.log_file) == []


def test_what_somebody_changed_meanwhile_stays(lab: Lab) -> None:
    site = start(lab)
    lab.director.ip("address add 192.0.2.251/24 dev front")
    lab.director.run(["nft", "add table inet meanwhile"])

    assert site.daemon.stop() == os.EX_OK

    addresses = lab.director.run(["ip", "-4", "address", "show", "dev", "front"]).stdout
    assert "192.0.2.251/24" in addresses
    assert site.vip("v4") not in addresses
    tables = [entry["table"] for entry in ruleset(lab.director) if "table" in entry]
    assert tables[-1] == {"family": "inet", "name": "meanwhile", "flags": ""}
    lab.director.ip("address delete 192.0.2.251/24 dev front")
    lab.director.run(["nft", "delete table inet meanwhile"])
