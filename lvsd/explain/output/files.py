"""What an explanation leaves on disk: a capture file per hop, and whatever text it is drawn as."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from lvsd.errors import OutputError
from lvsd.explain.captures import pcap

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.explain.model import Explanation

STEP_S: Final = 0.001
"""How far apart a packet's hops are in the files."""


def captures(explanation: Explanation) -> dict[str, list[tuple[float, bytes]]]:
    """Return (time in seconds, frame) of all that is seen at each hop, by the hop's name.

    The names are in the order in which packets come by; a hop is a host, its interface and what
    happens there.
    """
    seen: dict[str, list[tuple[float, bytes]]] = {}
    time_s = 0.0
    for journey in explanation.journeys:
        for hop in journey.hops:
            name = f"{hop.host}-{hop.interface}-{hop.title}".replace(" ", "-")
            seen.setdefault(name, []).append((time_s, hop.frame.data))
            time_s += STEP_S
    return seen


def write_captures(explanation: Explanation, directory: Path) -> list[Path]:
    """Write a capture file per hop into a directory, made if need be; return the files.

    Raise OutputError where that cannot be.
    """
    written = []
    path = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number, (name, frames) in enumerate(captures(explanation).items(), 1):
            path = directory / f"{number:02}-{name}.pcap"
            with path.open("wb") as file:
                pcap.write(file, frames)
            written.append(path)
    except OSError as error:
        raise OutputError(path, error) from error
    return written


def write_text(text: str, path: Path | None) -> None:
    """Write a text to a file, or to stdout. Raise OutputError where that cannot be."""
    if path is None:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(path, error) from error
