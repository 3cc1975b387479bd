"""The coverage-guided fuzzer of the packet path; `make fuzz` runs it.

Takes libFuzzer's options, such as ``-max_total_time=60 -max_len=4096``, and directories with a
corpus. It starts from the golden packets. The exit status is not 0 as soon as one input raises;
libFuzzer then writes that input to a file named ``crash-...``, to be handed in as an argument.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NoReturn

import atheris

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "packet" / "packets.toml"

sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["lvsd", "forwarders", "tests"]):
    from tests.fuzz.exercise import exercise
    from tests.fuzz.ways import exercise_one_way


def write_seeds(directory: Path) -> None:
    """Write each golden packet, before and after, to a file of its own."""
    for number, case in enumerate(tomllib.loads(GOLDEN.read_text())["case"]):
        for side in ("before", "after"):
            (directory / f"{number}-{side}").write_bytes(bytes.fromhex(case[side]))


def one_input(data: bytes) -> None:
    """Do all there is to one input."""
    exercise(data)
    exercise_one_way(data)


def fuzz(seeds: Path) -> NoReturn:
    """Fuzz until the time is up or an input raises; libFuzzer ends the process itself."""
    inputs = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    atheris.Setup(sys.argv if inputs else [*sys.argv, str(seeds)], one_input)
    atheris.Fuzz()
    sys.exit("the fuzzer returned")


def main() -> int:
    """Fuzz in a child process, so that the seeds are removed behind it; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="fuzz-packet-") as directory:
        seeds = Path(directory)
        write_seeds(seeds)
        child = os.fork()
        if child == 0:
            fuzz(seeds)
        _, status = os.waitpid(child, 0)
    return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main())
