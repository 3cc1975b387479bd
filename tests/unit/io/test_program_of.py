"""The process that is named for a queue is the one to talk to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.io import queue_statistics
from lvsd.io.queue_statistics import program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESSES = {
    30: ("lvsd-engine", 20),
    20: ("lvsd-forker", 10),
    10: ("lvsd", 1),
    31: ("lvsd-engine", 1),
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
        (40, " (probably suricata, pid 40)"),
        (99, ""),
    ],
    ids=["an engine", "an engine that lost its supervisor", "another program", "nobody"],
)
def test_an_engines_queue_is_its_supervisors(port: int, said: str) -> None:
    assert program_of(port) == said
