"""lvsadm prints of a recorded state what the real ipvsadm printed of it.

The files beside this one come from `record.py`, which tells how.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control import lvsadm
from tests.golden.lvsadm.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_lvsadm_prints_what_ipvsadm_printed(
    transcript: Path,
    serving: Callable[[dict[str, Any]], AbstractContextManager[Path]],
    resolver: Callable[[dict[str, Any]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = json.loads(transcript.with_suffix(".json").read_text())
    resolver(state)
    expected = re.split(r"^\$ ipvsadm ", transcript.read_text(), flags=re.MULTILINE)[1:]
    with serving(state) as path:
        actual = []
        for command in (block.partition("\n")[0] for block in expected):
            status = lvsadm.main([*command.split(), "--control", str(path)])
            captured = capsys.readouterr()
            actual.append(
                f"{command}\n{captured.out}"
                + "".join(f"! {line}\n" for line in captured.err.splitlines())
                + (f"= {status}\n" if status else "")
            )
    assert actual == expected


def test_every_scenario_of_the_recorder_is_there() -> None:
    assert sorted(each.name for each in SCENARIOS) == [path.stem for path in TRANSCRIPTS]
