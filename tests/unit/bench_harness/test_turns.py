"""Benchmarks, and turns of them in processes whose packages are the ones that are meant."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from bench import compare
from bench.harness import ROOT
from bench.micro import PACKAGES, find
from bench.trees import Trees
from bench.worker import CannotRunError, Worker
from lvsd.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    """Return this tree twice, without git."""
    made = Trees(tmp_path, tmp_path / "harness", tmp_path / "old", tmp_path / "new", "abc", "Begin")
    shutil.copytree(ROOT / "bench", made.harness / "bench")
    for tree in (made.old, made.new):
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / package)
    return made


def test_every_benchmark_has_a_name_of_its_own() -> None:
    names = [case.name for case in find(["*"])]
    assert len(names) == len(set(names))
    assert {name.partition("-")[0] for name in names} == {"packet", "core", "schedulers", "table"}


def test_a_pattern_may_match_in_several_groups() -> None:
    names = [case.name for case in find(["*fullnat*tcp6*", "packet-fullnat-reply-tcp6"])]
    assert names == [
        "packet-fullnat-request-tcp6",
        "packet-fullnat-reply-tcp6",
        "core-fullnat-tcp6-3",
        "core-fullnat-tcp6-1000",
    ]


def test_a_pattern_without_a_benchmark_is_refused() -> None:
    with pytest.raises(UsageError, match="no benchmark is named core-nat"):
        find(["packet-*", "core-nat"])


def test_what_is_compared_by_default_exists() -> None:
    names = [case.name for case in find(compare.SELECTION)]
    assert len(names) >= len(compare.SELECTION)


@pytest.mark.parametrize(
    "name",
    [
        *(case.name for case in find(["packet-*"])),
        "core-nat-tcp6-3",
        "core-open-tun-tcp4-3",
        "schedulers-lblcr-10",
        "schedulers-sh-1000",
        "table-tick-idle",
        "table-expire",
        "table-postpone",
    ],
)
def test_a_turn_takes_time(name: str) -> None:
    (case,) = find([name])
    assert case.prepare()(2) > 0


def test_both_sides_take_turns_and_what_the_other_revision_cannot_run_is_named(
    trees: Trees,
) -> None:
    rewrite = trees.old / "lvsd" / "packet" / "rewrite.py"
    rewrite.write_text("raise ImportError('it has another interface')\n")
    cases = find(["packet-delta", "schedulers-rr-10"])
    samples, failures = compare.take_turns(trees, cases, 2, lambda _: None)
    assert [(name, len(rounds)) for name, rounds in samples.items()] == [("schedulers-rr-10", 2)]
    assert all(second > 0 for pair in samples["schedulers-rr-10"] for second in pair)
    assert failures == {"packet-delta": "abc cannot run it: ImportError: it has another interface"}


def test_a_worker_refuses_packages_of_another_tree(trees: Trees) -> None:
    shutil.rmtree(trees.old / "forwarders")
    worker = Worker(trees.harness, trees.old, trees.folder)
    (case,) = find(["packet-delta"])
    with pytest.raises(CannotRunError, match=f"forwarders is .*, which is not in {trees.old}"):
        worker.calibrate(case)
