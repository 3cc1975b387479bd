"""The folder of the plots, looked at before anything is measured."""

from __future__ import annotations

import importlib.util
import tempfile
from typing import TYPE_CHECKING

from lvsd.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def check_plot(folder: Path) -> None:
    """Make the folder. Raise UsageError without matplotlib, OutputError if nothing can be there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'lvsd[plot]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(folder, error) from error
