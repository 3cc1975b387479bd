"""Command lines whose mistakes end as all others of lvsd do."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lvsd.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with where to look."""
        raise UsageError(f"{message}; see '{self.prog} --help'")
