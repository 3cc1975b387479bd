"""A third party's package is built, installed into a folder of its own, and used by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the plug-in is installed in; its source is left as it is."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    target = tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "plugin", source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, source],
        check=True,
        capture_output=True,
    )
    return target


QUESTIONS = """
import json, schedulers
from schedulers.base import Flow, Server

def failure(name):
    try:
        schedulers.load(name)
    except Exception as error:
        return [type(error).__name__, str(error)]

scheduler = schedulers.load("first")()
for last in (1, 2, 3):
    scheduler.add(Server(bytes((10, 0, 0, last)), 80))
picked = scheduler.pick(Flow(bytes(4), 1, bytes(4), 80), 0.0)
names = "absent", "quitter", "number", "unfinished", "misnamed", "wrrr"
print(json.dumps({
    "picked": [scheduler.name, list(picked.address)],
    "names": schedulers.names(),
    "wlc": schedulers.load("wlc").__module__,
    "failures": {name: failure(name) for name in names},
}))
"""


@pytest.fixture(scope="module")
def told(site: Path) -> dict[str, Any]:
    """Return what a program finds that can import the plug-in."""
    finished = subprocess.run(
        [sys.executable, "-c", QUESTIONS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_an_installed_plugin_is_loaded_by_name_and_picks(told: dict[str, Any]) -> None:
    assert told["picked"] == ["first", [10, 0, 0, 1]]


def test_names_lists_the_plugin_after_the_built_in_ones(told: dict[str, Any]) -> None:
    third_parties = ["absent", "first", "misnamed", "number", "quitter", "unfinished"]
    built_in = [
        "rr",
        "wrr",
        "lc",
        "wlc",
        "lblc",
        "lblcr",
        "dh",
        "sh",
        "sed",
        "nq",
        "mh",
        "fo",
        "ovf",
    ]
    assert told["names"] == built_in + third_parties


def test_a_plugin_cannot_take_the_name_of_a_built_in_one(told: dict[str, Any]) -> None:
    assert told["wlc"] == "schedulers.wlc"


def test_a_plugin_that_fails_at_import_is_reported_with_its_owner(told: dict[str, Any]) -> None:
    assert told["failures"]["absent"] == [
        "BrokenSchedulerError",
        (
            "scheduler 'absent' of lvs-first 1.0 cannot be imported: "
            "ModuleNotFoundError: No module named 'lvs_absent'"
        ),
    ]


def test_a_plugin_that_ends_the_program_at_import_is_reported_and_does_not(
    told: dict[str, Any],
) -> None:
    assert told["failures"]["quitter"] == [
        "BrokenSchedulerError",
        "scheduler 'quitter' of lvs-first 1.0 cannot be imported: SystemExit: 9",
    ]


def test_a_plugin_that_is_no_scheduler_is_reported(told: dict[str, Any]) -> None:
    assert told["failures"]["number"] == [
        "BrokenSchedulerError",
        "scheduler 'number' of lvs-first 1.0: lvs_first:NUMBER is no subclass of Scheduler",
    ]


def test_a_plugin_that_lacks_methods_is_reported_with_their_names(told: dict[str, Any]) -> None:
    assert told["failures"]["unfinished"] == [
        "BrokenSchedulerError",
        (
            "scheduler 'unfinished' of lvs-first 1.0: lvs_first:Unfinished does not define "
            "add, pick, remove"
        ),
    ]


def test_a_plugin_under_a_name_that_is_not_its_own_is_reported(told: dict[str, Any]) -> None:
    assert told["failures"]["misnamed"] == [
        "BrokenSchedulerError",
        "scheduler 'misnamed' of lvs-first 1.0: lvs_first:First calls itself 'first'",
    ]


def test_an_unknown_name_is_reported_with_the_known_ones(told: dict[str, Any]) -> None:
    assert told["failures"]["wrrr"] == [
        "UnknownSchedulerError",
        (
            "no scheduler 'wrrr'; there are: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, mh, "
            "fo, ovf, absent, first, misnamed, number, quitter, unfinished"
        ),
    ]
