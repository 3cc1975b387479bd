"""docs/lvsadm.md names every counter that the daemon adds to `lvsadm --status`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lvsd.core.icmp_limits import ErrorLimits
from lvsd.engine.pressure import Pressure
from lvsd.io.icmp_sender import IcmpStats
from lvsd.io.nfqueue import SourceStats
from tests.unit.core.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "lvsadm.md").read_text()


def _names(stats: type[SourceStats | IcmpStats]) -> set[str]:
    return {field.name for field in fields(stats)}


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("queue", _names(SourceStats)),
        ("table", set(Pressure(World().balancer, int).counters())),
        ("icmp", _names(IcmpStats) | set(ErrorLimits().counters())),
    ],
)
def test_every_counter_of_a_group_has_a_row(group: str, names: set[str]) -> None:
    [rows] = re.findall(rf"^\| `{group}` \|(.*\n(?:\| \|.*\n)*)", PAGE, re.MULTILINE)
    named = {
        word
        for cell in re.findall(r"^(?:\| \|)?([^|]+)\|", rows, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", cell)
    }
    assert named == names
