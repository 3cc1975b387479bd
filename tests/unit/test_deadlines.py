"""Deadlines for what must come follow LVSD_TEST_PATIENCE: else a busy machine fails the tests."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *(f"tests/{suite}" for suite in ("unit", "property", "browser", "netns", "kernel")),
    "lvsd/lab",
)

MOMENT_S, ENDLESS_S = 2.0, 600.0
"""Up to the one it is a time to look for what must not come, or between two looks; from the other
on it is more than enough for any machine."""

WAITING = {"communicate", "create_connection", "join", "settimeout", "wait"}
"""Methods and functions that wait for something; their numbers are seconds."""

OTHER_WAITS = {"first", "queue", "second", "story", "world"}
"""What waits for a number of packets, or lets a clock of its own run."""

NAMES = ("PATIENCE_S", "TIMEOUT_S", "END_S")
"""How constants end that hold such deadlines."""


WORDS = ("timeout", *NAMES, *(f"{name}(" for name in WAITING))
"""One of them is in each source that has a deadline; the others are not taken apart."""


def fixed(source: str) -> Iterator[int]:
    """Yield the lines in which a deadline is a bare number of seconds."""
    if not any(word in source for word in WORDS):
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords):
                given = [each.value for each in keywords if each.arg in {"timeout", "timeout_s"}]
                if _waits(function):
                    given += arguments
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.endswith(NAMES):
                given = [value]
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant() as value) if (
                name.endswith(NAMES)
            ):
                given = [value]
            case _:
                continue
        if any(_is_long(each) for each in given):
            yield node.lineno


def _waits(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id=who), attr=name):
            return name in WAITING and who not in OTHER_WAITS
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in WAITING
    return False


def _is_long(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int | float)
        and MOMENT_S < value.value < ENDLESS_S
    )


def test_no_deadline_is_a_bare_number_of_seconds() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    assert [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        for line in fixed(file.read_text("utf-8"))
    ] == []


@pytest.mark.parametrize(
    ("code", "is_fixed"),
    [
        ("run(argv, timeout=60)", True),
        ("process.wait(60)", True),
        ("site.daemon.process.wait(60)", True),
        ("socket.create_connection(address, 5)", True),
        ("TIMEOUT_S = 5.0", True),
        ("PATIENCE_S: Final = 30.0", True),
        ("run(argv, timeout=60 * PATIENCE)", False),
        ("TIMEOUT_S = 5.0 * PATIENCE", False),
        ("sock.settimeout(0.2)", False),
        ("queue.wait(3)", False),
    ],
)
def test_bare_numbers_are_found(code: str, *, is_fixed: bool) -> None:
    assert bool([*fixed(code)]) is is_fixed
