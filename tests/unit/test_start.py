"""The daemon starts without what it has no use for."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from lvsd.cli import main
status = main(["-c", "/nonexistent/lvsd.toml"])
loaded = [name for name in ("structlog", "rich") if name in sys.modules]
import rich
print(status, *loaded)
"""


def test_the_daemon_does_not_load_rich_and_leaves_it_to_others_to_import() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["78", "structlog"]
