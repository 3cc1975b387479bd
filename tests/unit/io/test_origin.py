"""The secret that outlives the daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lvsd.io.origin import NAME, origin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.io.conftest import FullDisk


def test_the_secret_is_the_same_after_a_restart_and_another_elsewhere(tmp_path: Path) -> None:
    first = origin(tmp_path / "one").secret
    assert len(first) == 16
    assert origin(tmp_path / "one").secret == first
    assert origin(tmp_path / "two").secret != first


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    origin(tmp_path)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["others may read it", "it is too short", "it is a link"])
def test_a_secret_that_others_may_know_is_replaced(tmp_path: Path, spoil: str) -> None:
    first = origin(tmp_path).secret
    path = tmp_path / NAME
    if spoil == "others may read it":
        path.chmod(0o644)
    elif spoil == "it is too short":
        path.write_bytes(first[:-1])
    else:
        path.rename(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    second = origin(tmp_path).secret
    assert len(second) == 16
    assert second != first


def test_without_a_place_for_it_this_run_has_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    first, second = origin(tmp_path / "file" / "below"), origin(tmp_path / "file" / "below")
    assert len(first.secret) == 16
    assert first.secret != second.secret


def test_the_wall_clock_is_the_directors_plus_what_it_says(tmp_path: Path) -> None:
    before = time.time()
    now = origin(tmp_path).wall_s + time.monotonic()
    assert before - 1 <= now <= time.time() + 1


def test_ports_begin_anywhere(tmp_path: Path) -> None:
    assert len({origin(tmp_path).port for _ in range(100)}) > 1


def test_where_others_may_write_none_is_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    first, second = origin(tmp_path), origin(tmp_path)
    assert first.secret != second.secret
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_nothing_stays_of_it(tmp_path: Path, full_disk: FullDisk) -> None:
    with full_disk():
        assert len(origin(tmp_path).secret) == 16
    assert list(tmp_path.iterdir()) == []
