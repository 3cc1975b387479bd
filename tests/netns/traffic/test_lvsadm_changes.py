"""A script of ipvsadm's, with the name changed, does to lvsd and its traffic what it says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import of, running
from tests.netns.traffic.test_without_rights import AS_NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

RPORT = 8080

MAY_READ = "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"
BY_NOBODY = *AS_NOBODY, *MAY_READ
"""Nobody in particular, who may read the code, wherever it lies, but not write to a socket."""


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """Run a director that has no services, and that everybody may ask."""
    with running(web_lab, 'control_readers = "all"') as site:
        yield site


def typed(
    control: Path, line: str, text: str = "", *, by: Sequence[str] = ()
) -> tuple[int, str, str]:
    """Run lvsadm, ``by`` what makes it another user's; return its status, and what it printed."""
    done = subprocess.run(
        [*by, sys.executable, "-m", "lvsd.control.lvsadm", *shlex.split(line)],
        input=text,
        env={**os.environ, "LVSD_CONTROL": str(control)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def answering(site: Site, family: Family) -> set[str]:
    return {site.get(family, 80).server for _ in range(9)}


def test_a_script_makes_a_service_that_works_and_saves_and_restores_it(
    site: Site, family: Family
) -> None:
    control = site.daemon.control
    vip = endpoint(site.vip(family), 80)
    one, two, three = (endpoint(of(server.addresses, family), RPORT) for server in site.lab.servers)
    script = (
        f"-A -t {vip} -s rr",
        f"-a -t {vip} -r {one} -m",
        f"-a -t {vip} -r {two} -m -w 2 -x 1000",
    )
    assert [typed(control, line) for line in script] == [(0, "", "")] * len(script)
    assert answering(site, family) == {"server1", "server2"}

    assert typed(control, f"-e -t {vip} -r {two} -m -w 0") == (0, "", "")
    assert answering(site, family) == {"server1"}
    assert typed(control, f"-a -t {vip} -r {three} -m") == (0, "", "")
    assert typed(control, f"-d -t {vip} -r {one}") == (0, "", "")
    assert answering(site, family) == {"server3"}

    saved = typed(control, "-Sn")[1]
    assert saved.splitlines() == [
        f"-A -t {vip} -s rr",
        f"-a -t {vip} -r {two} -m -w 0",
        f"-a -t {vip} -r {three} -m -w 1",
    ]
    assert typed(control, "-C") == (0, "", "")
    assert typed(control, "-Sn") == (0, "", "")
    assert typed(control, "-R", saved) == (0, "", "")
    assert typed(control, "-Sn") == (0, saved, "")
    assert answering(site, family) == {"server3"}
    assert typed(control, f"-D -t {vip}") == (0, "", "")


def test_what_is_refused_has_ipvsadms_words_and_status(site: Site) -> None:
    control = site.daemon.control
    for line, why in (
        ("-D -t 192.0.2.99:80", "No such service"),
        ("-a -t 192.0.2.99:80 -r 10.9.9.9 -m", "Service not defined"),
        ("-A -t 192.0.2.99:80 -s sometimes", "Scheduler or persistence engine not found"),
        ("-Z -f 99", "No such service"),
    ):
        assert typed(control, line) == (255, "", f"{why}\n")
    assert typed(control, "-L -f 99") == (1, "", "No such service\n")
    restored = typed(control, "-R", "-A -f 9\n-A -f 10\n-A -f 9\n")
    assert restored == (255, "", "line 3: Service already exists\n")
    assert typed(control, "-Sn") == (0, "", "")


def test_those_who_may_not_are_told_in_one_line(site: Site) -> None:
    control = site.daemon.control
    for each in (control.parent, control.parent.parent):
        each.chmod(0o755)
    refused = (255, "", "Permission denied (you must be root)\n")
    assert typed(control, "-A -f 9", by=BY_NOBODY) == refused
    assert typed(control, "-Z", by=BY_NOBODY) == refused
    assert typed(control, "-L --timeout", by=BY_NOBODY)[0] == 0
    control.chmod(0o600)
    why = f"Permission denied (you must be root) to use {control}\n"
    assert typed(control, "-C", by=BY_NOBODY) == (255, "", why)


def test_where_nobody_listens_a_change_says_so(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    remedy = "start it, or give its socket with --control PATH"
    why = f"lvsd is not running: no socket {control}; {remedy}\n"
    assert typed(control, "-A -f 9") == (255, "", why)
    assert typed(control, "-S") == (1, "", why)
