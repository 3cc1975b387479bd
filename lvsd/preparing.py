"""From a command line to a daemon that is ready to run: by its file, or in the place of another."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from lvsd.arguments import HANDOVER
from lvsd.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvsd.config.model import Config
    from lvsd.signals import StopRequest


_NOT_LOADED: Final = (
    "install lvsd anew, then start it: that goes on with its connections, as after a crash; "
    "or take down what it left: lvsd cleanup"
)


def prepared(path: Path) -> Callable[[StopRequest], int]:
    """Return what runs the daemon with a file; what another one has handed over goes before that.

    Raise ConfigError; KernelError where the code that is to go on does not load.
    """
    handed_over = os.environ.pop(HANDOVER, "")
    if handed_over:
        try:
            with _pretended_missing("rich"):
                from lvsd.daemon import go_on  # noqa: PLC0415 - loaded with what comes before
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            failure = KernelError("load the code that is installed now", why, _NOT_LOADED)
            _tell(handed_over, f"lvsd has ended: {failure}")
            raise failure from error
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


def _tell(handed_over: str, why: str) -> None:
    """Tell who asked for the upgrade that nothing came of it, without any code of lvsd's."""
    with suppress(Exception):
        with open(int(handed_over), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            client = socket.socket(fileno=json.load(file)["descriptors"]["client"])
        client.settimeout(0)
        answer = {"error": {"code": "internal", "message": why}}
        client.sendall(json.dumps(answer).encode() + b"\n")


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
