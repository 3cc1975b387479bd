"""Which tests there are, and in which order, depends on nothing but the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

ROOT = Path(__file__).parents[2]

# Without rewritten asserts, which nobody runs here, collecting takes half the time. The plug-in of
# Hypothesis would read all sources, for numbers to try.
COLLECT = (
    sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
    "--assert=plain", "-p", "tests.unit.elsewhen", "-p", "no:hypothesispytest",
)  # fmt: skip
SUITES = ("unit", "property", "golden", "browser", "netns", "kernel")
SEED = 2


def start_collecting(
    output: Path, suites: Sequence[str], hash_seed: int, shift_s: int, **environment: str
) -> subprocess.Popen[bytes]:
    """Collect suites into a file, with a hash seed, as it is done so many seconds from now."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    own = {"PYTHONHASHSEED": str(hash_seed), "LVSD_TEST_ELSEWHEN_S": str(shift_s)}
    with output.open("wb") as file:
        return subprocess.Popen(
            [*COLLECT, *(f"tests/{suite}" for suite in suites)],
            cwd=ROOT,
            env=ours | own | environment,
            stdout=file,
            stderr=file,
        )


def missing(config: pytest.Config) -> list[str]:
    """Return the suites that this process has not collected, whole and alone, with another seed."""
    option = config.option
    suites = [each for each in SUITES if f"tests/{each}" in config.args]
    is_other = os.environ.get("PYTHONHASHSEED") != str(SEED)
    is_whole = not (option.keyword or option.markexpr or option.deselect)
    is_alone = config.args == [f"tests/{each}" for each in suites]
    return [
        each for each in SUITES if not (is_other and is_whole and is_alone) or each not in suites
    ]


def names(process: subprocess.Popen[bytes], output: Path) -> list[str]:
    """Return the collected tests, in their order."""
    status = process.wait()
    said = output.read_text("utf-8")
    assert status == 0, said
    return [line for line in said.splitlines() if line.startswith("tests/") and "::" in line]


def test_the_same_tests_are_collected_with_any_hash_seed_at_any_time_with_any_programs(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What this process has collected itself is not collected here a second time."""
    half_a_year_s = 15_768_000
    nothing_installed = {"PATH": "/nonexistent", "HOME": "/", "TERM": "dumb", "COLUMNS": "60"}
    others = missing(request.config)
    ours = [suite for suite in SUITES if suite not in others]
    expected = [item.nodeid for item in request.session.items] if ours else []
    found = []

    def elsewhere(suites: Sequence[str]) -> list[str]:
        output = tmp_path / "elsewhere"
        return names(
            start_collecting(output, suites, SEED, half_a_year_s, **nothing_installed), output
        )

    if ours:
        found += elsewhere(ours)
    if others:
        output = tmp_path / "here"
        with start_collecting(output, others, SEED - 1, 0) as here:
            found += elsewhere(others)
            expected += names(here, output)

    assert {name.split("/")[1] for name in expected} == set(SUITES)
    assert found == expected
