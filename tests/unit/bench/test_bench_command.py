"""The command line of ``lvsd bench``: what it prints, writes and refuses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from lvsd.bench.cli import main
from lvsd.bench.options import add_arguments, selection
from lvsd.bench.schedulers import run
from lvsd.errors import LvsdError, OutputError, UsageError

QUICK = ["--servers", "4,8", "--seeds", "2", "--turns", "2", "--duration", "20", "--load", "2"]
TWO = ["schedulers", *QUICK, "--scheduler", "wlc,mh"]


def test_bench_alone_lists_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "schedulers" in said
    assert said.startswith("usage: lvsd bench ")


def test_the_json_document_has_every_figure_with_its_seeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*TWO, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == [
        "format",
        "lvsd",
        "python",
        "machine",
        "parameters",
        "speed",
        "memory",
        "quality",
        "simulation",
    ]
    assert report["parameters"] == {
        "schedulers": ["wlc", "mh"],
        "parts": ["speed", "memory", "quality"],
        "servers": [4, 8],
        "simulated": 4,
        "weights": "1-10",
        "seeds": [1, 2],
        "workload": "steady",
        "trace": None,
        "load": 2.0,
        "lifetime_s": 10.0,
        "duration_s": 20.0,
        "linger_s": 10.0,
        "turns": 2,
    }
    assert [(each["scheduler"], each["servers"]) for each in report["speed"]] == [
        ("wlc", 4),
        ("mh", 4),
        ("wlc", 8),
        ("mh", 8),
    ]
    wlc = report["quality"][0]
    assert set(wlc["jain"]) == {"mean", "half_width", "values"}
    assert len(wlc["jain"]["values"]) == 2
    assert len(wlc["imbalances"]) == 300


def test_the_same_seeds_give_the_same_quality(capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for _ in range(2):
        main([*TWO, "--measure", "quality", "--json"])
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1]


def test_one_seed_has_no_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scheduler", "rr", "--servers", "4", "--duration", "20", "--measure", "quality"]
    assert main(["schedulers", *words, "--seed", "9"]) == 0
    said = capsys.readouterr().out
    assert "steady, 4 servers, seed 9" in said
    assert "±" not in said


def test_a_trace_takes_its_own_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"{second},2,203.0.113.{second + 1}\n" for second in range(31)]
    trace.write_text("arrival_s,lifetime_s,client\n" + "".join(rows), encoding="utf-8")
    words = ["--scheduler", "rr", "--servers", "3", "--measure", "quality", "--json"]
    assert main(["schedulers", *words, "--workload", "trace", str(trace)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"]["workload"] == "trace"
    assert report["parameters"]["trace"] == str(trace)
    assert report["parameters"]["duration_s"] == 30.0
    assert report["parameters"]["load"] is None
    assert report["simulation"]["active"][0] == pytest.approx(59 / 30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--servers 0", "--servers '0': a whole number from 1 to 100,000 is allowed"),
        ("--servers -3", "--servers '-3': a whole number"),
        ("--servers 10,,20", "--servers '': a whole number"),
        ("--servers 1000000000", "--servers '1000000000': a whole number from 1 to 100,000"),
        ("--servers 1,2,3,4,5,6,7,8,9,10,11,12,13", "--servers: 13 numbers; 12 are allowed"),
        ("--servers 1", "a simulation takes 2 servers or more"),
        ("--weights 0", "--weights '0': neither one weight (5), nor a range"),
        ("--weights 10-1", "--weights '10-1': neither"),
        ("--weights 1,,2", "--weights '1,,2': neither"),
        ("--weights 70000", "weights are 1 to 65535"),
        ("--weights 3,2,1", "a pattern of 3 weights does not fit 10 servers"),
        ("--weights 3,2,1 --servers 9 --simulate 8", "does not fit 8 servers"),
        ("--simulate 1", "--simulate '1': a whole number from 2 to 10,000"),
        ("--simulate 10000", "connections a run, 1,000,000 are allowed: give fewer servers"),
        ("--seeds 0", "--seeds '0': a whole number from 1 to 1,000"),
        ("--seed -1", "--seed '-1': a whole number from 0"),
        ("--seeds 2 --seed 3", "argument --seed: not allowed with argument --seeds"),
        ("--load 0", "--load '0': a number from 0.01"),
        ("--load nan", "--load 'nan': a number"),
        ("--lifetime long", "--lifetime 'long': a number"),
        ("--linger -1", "--linger '-1': a number from 0"),
        ("--duration 1", "--duration '1': a number from 10"),
        ("--turns 1", "--turns '1': a whole number from 2"),
        ("--measure quality,more", "--measure 'more': there are speed, memory, quality"),
        ("--workload calm", "--workload 'calm': there are steady, churn, bursty, heavy-tail"),
        ("--workload steady file", "--workload steady file: nothing may follow steady"),
        ("--workload trace", "--workload trace: say which file"),
        ("--workload trace a b", "--workload trace a b: nothing may follow a"),
        ("--workload trace t --load 3", "--load does not go with a trace"),
        ("--unknown", "unrecognized arguments: --unknown; see 'lvsd bench --help'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(words: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        main(["schedulers", *words.split(" ")])
    assert said in str(raised.value)
    assert raised.value.exit_status == 64


def test_a_trace_that_cannot_be_read_is_named_before_too() -> None:
    with pytest.raises(LvsdError) as raised:
        main(["schedulers", "--workload", "trace", "/no/trace"])
    assert raised.value.exit_status == 66
    assert str(raised.value).startswith("/no/trace: cannot be read: No such file")


def test_no_stdout_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open(encoding="utf-8") as unwritable:
        monkeypatch.setattr(sys, "stdout", unwritable)
        with pytest.raises(OutputError, match="standard output: cannot be written: Bad file"):
            main(TWO)
        monkeypatch.undo()


def test_the_help_fits_the_columns_that_it_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["schedulers", "--help"])
    assert max(map(len, capsys.readouterr().out.split("\n"))) <= 60


def test_a_seed_is_simulated_with_all_schedulers_before_the_next_is_made() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    asked = selection(parser.parse_args([*TWO[1:], "--measure", "quality"]))
    said: list[str] = []
    found = run(asked, said.append)
    assert said == [f"{name}: steady, seed {seed}" for seed in (1, 2) for name in ("wlc", "mh")]
    assert [each.scheduler for each in found.quality] == ["wlc", "mh"]
    assert (len(said), len(found.active), len(found.ideal_moves)) == (asked.steps, 2, 2)


def test_a_benchmark_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="invalid choice: 'packets'"):
        main(["packets"])
