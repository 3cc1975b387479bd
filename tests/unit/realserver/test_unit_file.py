"""The real server's systemd unit; what all units have in common is in tests/unit."""

from __future__ import annotations

from pathlib import Path

UNIT = Path(__file__).parents[3] / "packaging" / "lvsd-realserver.service"
INSTALLED = "/usr/bin/lvsd"


def test_it_stays_active_after_an_up_that_ends_and_stopping_it_is_down() -> None:
    lines = UNIT.read_text().splitlines()
    expected = [
        "Type=notify",
        "RemainAfterExit=yes",
        f"ExecStart={INSTALLED} realserver up $OPTIONS",
        f"ExecStop={INSTALLED} realserver down",
    ]
    assert [line for line in lines if line in expected] == expected
