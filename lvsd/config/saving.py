"""A running state on its way into a file: is it a good configuration, and is it there, whole."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.config import toml
from lvsd.config.faults import dotted
from lvsd.config.load import validate
from lvsd.config.writing import text
from lvsd.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOWHERE: Final = Path("what runs")


def gathered(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document that a daemon tells in parts."""
    found: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name == "service":
                found.setdefault(name, []).extend(value)
            else:
                found[name] = value
    return found


def checked_text(document: Mapping[str, Any]) -> str:
    """Return the file that holds a document of `lvsd.documents`.

    Raise ConfigError where no file may say that: lvsadm allows more than a configuration does,
    such as a server on a loopback address.
    """
    written = text(document)
    content = toml.loads(written)
    _, faults = validate(content)
    if faults:
        what = "cannot stand in a configuration"
        problems = [f"{_at(content, each.key)}: {each.text} ({what})" for each in faults]
        raise ConfigError(_NOWHERE, problems)
    return written


def _at(content: Mapping[str, Any], key: tuple[str | int, ...]) -> str:
    """Return which key is wrong, of which service."""
    if key[:1] == ("service",) and len(key) > 1:
        return f"service {content['service'][key[1]]['name']}: {dotted(key[2:])}"
    return dotted(key)


def put(text_of_file: str, path: Path | str) -> None:
    """Put a text into a file, all of it or, where that cannot be, nothing. Raise OutputError.

    ``path`` is as it was typed: one that ends as a directory's does is refused, and none is made.

    A file that was there keeps its mode; a link still leads where it led. What is no file, such as
    a pipe, is written to.
    """
    target = _file_of(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and not target.is_file():
            target.write_text(text_of_file, encoding="utf-8")
            return
        mode = target.stat().st_mode & 0o7777 if target.exists() else None
        with draft.open("x", encoding="utf-8") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text_of_file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OutputError(path, error) from error


def _file_of(path: Path | str) -> Path:
    """Return where a path leads that is to be a file's. Raise OutputError."""
    typed = str(path)
    if not typed:
        raise OutputError("''", OSError(errno.ENOENT, "it is empty, and names no file"))
    try:
        target = Path(typed).resolve()
    except RuntimeError:  # links that lead to each other
        raise OutputError(typed, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from None
    if typed.rpartition("/")[2] in {"", ".", ".."} or target.is_dir():
        raise OutputError(typed, OSError(errno.EISDIR, "it names a directory, not a file"))
    return target
