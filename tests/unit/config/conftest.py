"""What an operator reads when a file is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lvsd.config.load import check

if TYPE_CHECKING:
    from pathlib import Path

Problems = Callable[[str], list[str]]
"""What is wrong with a text: ``line: key: message``, one for each problem."""


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """Return a function that writes a text to a file and checks it."""
    file = tmp_path / "lvsd.toml"

    def problems(text: str) -> list[str]:
        file.write_text(text)
        config, found = check(file)
        assert (config is None) == bool(found)
        return [f"{problem.line}: {problem.key}: {problem.text}" for problem in found]

    return problems
