"""docs/lvsadm.md names every counter that the daemon adds to `lvsadm --status`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lvsd.io.icmp_sender import IcmpStats
from lvsd.io.nfqueue import SourceStats

PAGE = (Path(__file__).parents[3] / "docs" / "lvsadm.md").read_text()


@pytest.mark.parametrize(("group", "stats"), [("queue", SourceStats), ("icmp", IcmpStats)])
def test_every_counter_of_a_group_has_a_row(
    group: str, stats: type[SourceStats | IcmpStats]
) -> None:
    [rows] = re.findall(rf"^\| `{group}` \|(.*\n(?:\| \|.*\n)*)", PAGE, re.MULTILINE)
    named = {
        word
        for cell in re.findall(r"^(?:\| \|)?([^|]+)\|", rows, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", cell)
    }
    assert named == {field.name for field in fields(stats)}
