"""Tables fit a narrow terminal, and are plain in a pipe."""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from lvsd.bench.cli import main
from lvsd.bench.estimate import estimate
from lvsd.bench.memory import Memory
from lvsd.bench.options import add_arguments, selection
from lvsd.bench.plugins import Candidate, chosen
from lvsd.bench.quality import figures, quality
from lvsd.bench.report import tables
from lvsd.bench.schedulers import Results
from lvsd.bench.speed import Speed
from tests.unit.bench.cases import case

if TYPE_CHECKING:
    from lvsd.bench.schedulers import Selection

SIZES = (10, 100, 1000, 10_000, 100_000)
LONG = "a_third_partys_scheduler_of_a_long_name"


@pytest.fixture(scope="module")
def asked() -> Selection:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return selection(parser.parse_args(["--scheduler", "wlc", "--seeds", "3"]))


@pytest.fixture(scope="module")
def results() -> Results:
    (wlc,) = chosen("wlc")
    named = Candidate(LONG, LONG, wlc.made_by)
    rates = estimate([12_345_678.0, 12_445_678.0, 12_545_678.0])
    cases = [case(seed=seed) for seed in (1, 2, 3)]
    return Results(
        speed=tuple(Speed(name, servers, rates) for servers in SIZES for name in ("lblcr", LONG)),
        memory=tuple(
            Memory("lblcr", servers, 75_104, 8_000_000, 8_000_000 / servers) for servers in SIZES
        ),
        quality=tuple(
            quality(each.name, [figures(each, one) for one in cases]) for each in (wlc, named)
        ),
        ideal_moves=(0.1, 0.2, 0.3),
        window_s=30.0,
        active=(99.0, 100.0, 101.0),
    )


def test_every_table_fits_60_columns(asked: Selection, results: Results) -> None:
    found = [table for part in tables(asked, results).values() for table in part]
    buffer = io.StringIO()
    for table in found:
        table.show(Console(file=buffer, width=60, highlight=False))
    said = buffer.getvalue()
    assert max(map(len, said.split("\n"))) <= 60
    assert "\x1b" not in said
    assert "…" not in said


def test_a_figure_stands_with_its_interval(asked: Selection, results: Results) -> None:
    parts = tables(asked, results)
    speed = parts["speed"][0]
    assert speed.rows == [
        ["lblcr", "12,445,678", "2", "80"],
        [LONG, "12,445,678", "2", "80"],
    ]
    assert [len(table.columns) for table in parts["memory"]] == [6, 3]
    assert parts["memory"][0].rows == [["lblcr", "75,104", "800,000", "80,000", "8,000", "800"]]


def test_nobody_served_is_not_called_perfect(asked: Selection, results: Results) -> None:
    idle = replace(results.quality[0], imbalances=(None,) * 300)
    fairness, imbalance, *_ = tables(asked, replace(results, quality=(idle,)))["quality"]
    assert fairness.rows == [["wlc", "-", "-", "0.0 ±0.0"]]
    assert imbalance.rows == [["wlc", "-", "-", "-"]]


def test_the_ideal_is_the_servers_share_by_weight(asked: Selection, results: Results) -> None:
    disruption = tables(asked, results)["quality"][2]
    assert disruption.note.startswith("Ideal: 0, 20.0%, 20.0%: ")


def test_markdown_has_a_row_per_scheduler(asked: Selection, results: Results) -> None:
    lines = tables(asked, results)["speed"][0].markdown().split("\n")
    assert lines == [
        "**Speed with 10 servers**",
        "",
        "| scheduler | picks/s | ± % | ns |",
        "|---|--:|--:|--:|",
        "| lblcr | 12,445,678 | 2 | 80 |",
        f"| {LONG} | 12,445,678 | 2 | 80 |",
        "",
    ]


def test_the_command_fits_the_columns_that_it_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = ["--scheduler", "lblcr,rr", "--servers", "5", "--seeds", "2"]
    assert main(["schedulers", *words, "--turns", "2", "--duration", "20"]) == 0
    said = capsys.readouterr()
    assert max(map(len, said.out.split("\n"))) <= 60
    assert said.err == ""
