"""Which tests there are, and in which order, depends on nothing but the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Without rewritten asserts, which nobody runs here, collecting takes half the time. The plug-in of
# Hypothesis would read all sources, for numbers to try.
COLLECT = (
    sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
    "--assert=plain", "-p", "tests.unit.elsewhen", "-p", "no:hypothesispytest",
)  # fmt: skip
SUITES = ("unit", "property", "golden", "browser", "netns", "kernel")


def start_collecting(
    output: Path, hash_seed: int, shift_s: int, **environment: str
) -> subprocess.Popen[bytes]:
    """Collect all tests into a file, with a hash seed, as it is done so many seconds from now."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    own = {"PYTHONHASHSEED": str(hash_seed), "LVSD_TEST_ELSEWHEN_S": str(shift_s)}
    with output.open("wb") as file:
        return subprocess.Popen(
            [*COLLECT, *(f"tests/{suite}" for suite in SUITES)],
            cwd=ROOT,
            env=ours | own | environment,
            stdout=file,
            stderr=file,
        )


def names(process: subprocess.Popen[bytes], output: Path) -> list[str]:
    """Return the collected tests, in their order."""
    status = process.wait()
    said = output.read_text("utf-8")
    assert status == 0, said
    return [line for line in said.splitlines() if line.startswith("tests/") and "::" in line]


def test_the_same_tests_are_collected_with_any_hash_seed_at_any_time_with_any_programs(
    tmp_path: Path,
) -> None:
    half_a_year_s = 15_768_000
    nothing_installed = {"PATH": "/nonexistent", "HOME": "/", "TERM": "dumb", "COLUMNS": "60"}
    outputs = tmp_path / "here", tmp_path / "elsewhere"

    with (
        start_collecting(outputs[0], 1, 0) as here,
        start_collecting(outputs[1], 2, half_a_year_s, **nothing_installed) as elsewhere,
    ):
        expected, found = names(here, outputs[0]), names(elsewhere, outputs[1])

    assert {name.split("/")[1] for name in expected} == set(SUITES)
    assert found == expected
