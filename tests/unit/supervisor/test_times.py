"""How long lvsd waits for its processes, and how long systemd waits for lvsd."""

from __future__ import annotations

import re
from pathlib import Path

from lvsd.supervisor.conversation import LOOK_S
from lvsd.supervisor.engines import FAREWELL_S, KILLED_S, SILENT_S, silent_s
from lvsd.supervisor.forker import CLOSE_S

UNIT = Path(__file__).parents[3] / "packaging" / "lvsd.service"


def of_unit(key: str) -> float:
    """Return a time of the unit's, in seconds."""
    found = re.search(rf"(?m)^{key}=(\d+)s$", UNIT.read_text("utf-8"))
    assert found is not None
    return float(found[1])


def test_a_hung_engine_is_replaced_before_the_watchdog_of_systemd_ends_lvsd() -> None:
    watchdog_s = of_unit("WatchdogSec")
    beat_s = 1.0
    assert silent_s(watchdog_s) + LOOK_S + beat_s < watchdog_s
    assert silent_s(None) == silent_s(1000.0) == SILENT_S


def test_a_stop_with_all_processes_hung_takes_less_time_than_systemd_gives() -> None:
    assert of_unit("TimeoutStopSec") > FAREWELL_S + KILLED_S + CLOSE_S
