"""``python -m bench``: what goes wrong ends with a line and a status."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

import bench.packet
import bench.report
from bench.__main__ import run
from bench.harness import ROOT, timed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from bench.report import Section


def test_a_section_or_benchmark_that_there_is_not_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [run(["picks"]), run(["micro", "picks"]), run(["compare"])] == [64, 64, 64]
    assert [line.partition(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "bench: no such section: picks",
        "bench: no benchmark is named picks",
        "bench: the following arguments are required: REV",
    ]


def test_a_page_that_cannot_be_written_is_named_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.report, "PAGE", tmp_path)
    assert run(["packet"]) == 73
    assert capsys.readouterr().err == f"bench: {tmp_path}: cannot be written: Is a directory\n"


def test_benchmarks_that_fail_end_a_section_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def tables() -> list[Section]:
        timed(["nothing"])
        return []

    monkeypatch.setattr(bench.packet, "tables", tables)
    assert run(["packet", "--dry-run"]) == 70
    why, what = capfd.readouterr().err.splitlines()
    assert why == "bench: no benchmark is named nothing; see 'python -m bench micro --list'"
    assert what.startswith(f"bench: failed with status 64: {sys.executable} -m bench micro ")


def test_ctrl_c_ends_a_section_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tables() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.packet, "tables", tables)
    assert run(["packet", "--dry-run"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_enough_ends_the_list_without_a_word() -> None:
    command = [sys.executable, "-m", "bench", "micro", "--list"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert (listing.stderr.read(), listing.wait()) == (b"", 141)
