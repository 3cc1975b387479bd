"""Every row of docs/differences.md has a reason and a test; what lets one pass names its row."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.kernel import command_lines
from tests.kernel.rewriting import masks
from tests.kernel.services import allowed

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "differences.md"
ASKED_FOR: Final = ROOT / "docs" / "asked-for.md"
COLUMNS: Final = ["what", "kernel IPVS", "lvsd", "reason", "test"]
BORDER: Final = re.compile(r"(?<!\\)\|")
TEST: Final = re.compile(r"`(tests/\S+\.py)::(test_\w+)`")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in BORDER.split(line)[1:-1]]


HEAD, _, *ROWS = [
    _cells(line) for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")
]
RULES: Final = {*allowed.ROWS, *(rule.row for rule in masks.RULES), *command_lines.ROWS}


def test_the_table_has_its_columns() -> None:
    assert HEAD == COLUMNS


def test_no_row_stands_twice() -> None:
    assert [what for what, times in Counter(row[0] for row in ROWS).items() if times > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_why_and_where_it_is_shown(row: list[str]) -> None:
    assert len(row) == len(COLUMNS)
    assert all(row)
    assert TEST.sub("", row[-1]).strip(", ") == ""
    tests = TEST.findall(row[-1])
    assert [test for test in tests if test[1] not in _tests_in(test[0])] == []


def test_what_users_ask_for_is_shown_by_tests_that_exist() -> None:
    tests = TEST.findall(ASKED_FOR.read_text("utf-8"))
    assert len(tests) > 12
    assert [test for test in tests if test[1] not in _tests_in(test[0])] == []


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_lets_a_difference_from_the_kernel_pass_names_its_row(rule: str) -> None:
    assert rule in {row[0] for row in ROWS}


@cache
def _tests_in(file: str) -> frozenset[str]:
    """Return the names of a file's tests; none where there is no such file."""
    path = ROOT / file
    if not path.exists():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text("utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, functions))
