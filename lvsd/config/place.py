"""Where the daemon of a configuration keeps its files, as far as even a broken file says so.

What a killed daemon left must be put back though its configuration is broken by now, or gone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.config import fields, toml
from lvsd.config.load import check, text_of
from lvsd.config.model import Daemon

if TYPE_CHECKING:
    from pathlib import Path

_LINE: Final = re.compile(r"\s*(?:daemon\s*\.\s*)?(control\s*=.*)")
"""A line that says where, in a file that is no TOML as a whole."""


class Place(NamedTuple):
    """A control socket's path. ``said`` is whether the file says it, ``fault`` what is wrong."""

    control: Path
    said: bool
    fault: str


def place(path: Path) -> Place:
    """Return where the control socket is, by whatever of a configuration can be read.

    ``fault`` is the first one of the file, a finished line; empty: the file is good. The default
    is returned where nothing can be read.
    """
    config, problems = check(path)
    if config is not None:
        return Place(config.daemon.control, said=True, fault="")
    fault = str(problems[0])
    for value in _values(text_of(path) or ""):
        try:
            return Place(fields.control(value), said=True, fault=fault)
        except ValueError:
            continue
    return Place(Daemon().control, said=False, fault=fault)


def _values(text: str) -> list[object]:
    """Return what stands under daemon.control, or on lines that look like it."""
    document = _parsed(text)
    if document is not None:
        daemon = document.get("daemon")
        return [daemon["control"]] if isinstance(daemon, dict) and "control" in daemon else []
    lines = (found[1] for line in text.splitlines() if (found := _LINE.fullmatch(line)))
    return [values["control"] for line in lines if (values := _parsed(line))]


def _parsed(text: str) -> dict[str, object] | None:
    try:
        return toml.loads(text)
    except (ValueError, RecursionError):
        return None
