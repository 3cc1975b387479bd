"""The folder of the plots, looked at before anything is measured; and how files are written."""

from __future__ import annotations

import importlib
import tempfile
from typing import TYPE_CHECKING

from lvsd.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def check_plot(folder: Path) -> None:
    """Make the folder. Raise UsageError without matplotlib, OutputError if nothing can be there."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        missing = getattr(error, "name", None) or ""
        why = "" if missing.partition(".")[0] == "matplotlib" else f" ({error})"
        raise UsageError(f"--plot needs matplotlib: pip install 'lvsd[plot]'{why}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(folder, error) from error


def write(path: Path, data: bytes) -> None:
    """Write a file that is finished, at once, whoever owns it. Raise OutputError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(path, error) from error
