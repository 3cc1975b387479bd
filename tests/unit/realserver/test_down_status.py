"""The end of a real server says by its status whether everything is as it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lvsd.io import sysctls
from lvsd.io.journal import Journal, SysctlChange, journal_path, this_namespace
from lvsd.realserver.up import down

if TYPE_CHECKING:
    from pathlib import Path

TTL = "net.ipv4.ip_default_ttl"


def test_what_stays_is_said_and_is_a_failure(tmp_path: Path) -> None:
    present = sysctls.read(TTL)
    left = Journal(0, 0, this_namespace(), [SysctlChange(TTL, "no number", present)])
    left.write(journal_path(tmp_path))
    said: list[str] = []
    assert down(tmp_path, said.append) == os.EX_OSERR
    (line,) = said
    assert line.startswith(f"{TTL} stays {present}: ")


def test_where_nothing_stays_it_is_a_success(tmp_path: Path) -> None:
    present = sysctls.read(TTL)
    left = Journal(0, 0, this_namespace(), [SysctlChange(TTL, present, "no number")])
    left.write(journal_path(tmp_path))
    assert down(tmp_path, lambda _: None) == os.EX_OK
    assert list(tmp_path.iterdir()) == []
