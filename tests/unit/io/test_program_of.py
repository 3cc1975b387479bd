"""The process that is named for a queue is the one to talk to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.io import queue_statistics
from lvsd.io.queue_statistics import is_orphans, program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESSES = {
    30: ("lvsd-engine", 20),
    20: ("lvsd-forker", 10),
    10: ("lvsd", 1),
    31: ("lvsd-engine", 1),
    32: ("lvsd-engine", 22),
    22: ("lvsd-forker", 1),
    33: ("lvsd-engine", 0),
    40: ("suricata", 1),
    1: ("systemd", 0),
}


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> Mapping[int, tuple[str, int]]:
    """Let these processes be all that there are."""

    def status(process: int, key: str) -> str:
        if process not in PROCESSES:
            raise FileNotFoundError(Path(f"/proc/{process}"))
        name, parent = PROCESSES[process]
        return {"Name": name, "PPid": str(parent)}[key]

    monkeypatch.setattr(queue_statistics, "_status", status)
    return PROCESSES


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (30, " (probably lvsd, pid 10)"),
        (31, " (probably lvsd-engine, pid 31)"),
        (32, " (probably lvsd-engine, pid 32)"),
        (33, " (probably lvsd-engine, pid 33)"),
        (40, " (probably suricata, pid 40)"),
        (99, ""),
    ],
    ids=[
        "an engine",
        "an engine that lost its supervisor and its forker",
        "an engine that lost its supervisor",
        "an engine whose parent is out of sight",
        "another program",
        "nobody",
    ],
)
def test_an_engines_queue_is_its_supervisors(port: int, said: str) -> None:
    assert program_of(port) == said


@pytest.mark.parametrize(
    ("port", "alone"), [(30, False), (31, True), (32, True), (33, True), (40, False), (99, False)]
)
def test_an_engine_without_an_lvsd_above_it_is_an_orphan(port: int, *, alone: bool) -> None:
    assert is_orphans(port) is alone


def test_an_engine_of_an_lvsd_that_is_init_itself_is_none(
    processes: dict[int, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(processes, 1, ("lvsd", 0))
    assert not is_orphans(32)
    assert program_of(32) == " (probably lvsd, pid 1)"
