"""From a command line to a daemon that is ready to run: by its file, or in the place of another."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lvsd.arguments import HANDOVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvsd.config.model import Config
    from lvsd.signals import StopRequest


def prepared(path: Path) -> Callable[[StopRequest], int]:
    """Return what runs the daemon with a file; what another one has handed over goes before that.

    Raise ConfigError.
    """
    handed_over = os.environ.pop(HANDOVER, "")
    if handed_over:
        with _pretended_missing("rich"):
            from lvsd.daemon import go_on  # noqa: PLC0415 - loaded with what comes before
        return partial(go_on, path, handed_over)
    config = _configuration(path)

    from lvsd.daemon import run  # noqa: PLC0415 - a bad configuration is said without it

    return partial(run, path, config)


def _configuration(path: Path) -> Config:
    """Return the configuration to run with; log as it says, and what is doubtful about it."""
    with _pretended_missing("rich"):  # structlog would load it, for tracebacks that lvsd has plain
        import structlog  # noqa: PLC0415 - 'lvsd --help' is quick

    from lvsd import log  # noqa: PLC0415 - same reason
    from lvsd.config.doubts import of_file  # noqa: PLC0415 - same reason
    from lvsd.config.load import load, located  # noqa: PLC0415 - same reason

    config = load(path)
    log.configure(config.daemon.log_level, config.daemon.log_format)
    for warning in located(path, of_file(config)):
        told = {"file": str(path), "line": warning.line, "key": warning.key}
        structlog.get_logger("lvsd").warning(warning.text, **told)
    return config


@contextmanager
def _pretended_missing(module: str) -> Iterator[None]:
    """Have a module that is not loaded yet fail to import inside the block, as if not installed.

    Without rich a start takes an eighth less of a processor's time, and the daemon 4 MB less.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how the import system is told so
    try:
        yield
    finally:
        del sys.modules[module]
