"""From a file to a configuration, or to everything that is wrong with it."""

from __future__ import annotations

import os
import re
import stat
import sys
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import tomli

from lvsd.config import fields, rules, toml
from lvsd.config.faults import Fault, Problem, dotted
from lvsd.config.model import Config
from lvsd.config.shape import Reading
from lvsd.errors import ConfigError
from lvsd.garbage import without_collections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_TUPLE = re.compile(r"\((['\"]).*\)")
"""A key as tomli's messages write it, as Python's tuple."""

MAX_BYTES = 16 * 2**20
"""A longer file is refused unread: it is something else."""

MAX_LISTED = 100
"""Problems that are told; whoever has that many has one that is in all of them."""

MAX_FOUND = 1000
"""Faults that are looked for, and counted."""

_CHUNK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def load(path: Path) -> Config:
    """Return the configuration in a file. Raise ConfigError with every problem in it."""
    config, problems = check(path)
    if config is None:
        raise ConfigError(path, [str(problem) for problem in problems])
    return config


def check(path: Path) -> tuple[Config | None, list[Problem]]:
    """Return the configuration in a file and no problem, or None and all, in file order.

    Of more than `MAX_LISTED` problems the first are returned, and one that says how many more.
    """
    with without_collections():
        try:
            text = _read(path)
            document = _parse(text)
        except _UnreadableError as error:
            return None, [Problem(path, error.line, "", error.text)]
        config, faults = validate(document)
        if not faults:
            return config, []
        return None, _located(path, faults, text, "problems")


def located(path: Path, faults: Iterable[Fault]) -> list[Problem]:
    """Return warnings with their lines in a file, in file order; a file that is gone has none."""
    found = list(islice(faults, MAX_FOUND))
    return _located(path, found, text_of(path) or "", "warnings") if found else []


def validate(document: dict[str, Any]) -> tuple[Config | None, list[Fault]]:
    """Return the configuration that a document holds and no fault, or None and the faults.

    Of a key by itself, and of keys against each other, no more than `MAX_FOUND` are looked for.
    """
    reading = Reading(Config, MAX_FOUND)
    config = reading.of(document)
    faults = [*reading.faults, *islice(rules.faults(document), MAX_FOUND)]
    fields.forget_endpoints()
    return (None if faults else config), faults


def text_of(path: Path) -> str | None:
    """Return the text of a file, whatever it says; None when it cannot be read as text."""
    try:
        return _read(path)
    except _UnreadableError:
        return None


class _UnreadableError(Exception):
    """The file holds no document. ``line`` 0: the file as a whole."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.line = line


def _read(path: Path) -> str:
    try:
        data = _bytes_of(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _UnreadableError(f"{reason}, expected a readable file") from None
    if len(data) > MAX_BYTES:
        raise _UnreadableError(f"longer than {MAX_BYTES} bytes, expected a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnreadableError(
            f"byte 0x{data[error.start]:02x} is not UTF-8, expected text in UTF-8", line
        ) from None


def _bytes_of(path: Path) -> bytes:
    """Return what is in a regular file, of a longer one than `MAX_BYTES` no more than shows that.

    Nothing else is as much as opened: a pipe waits for a writer that may never come, a device for
    data, and opening one may already set it going. Raise OSError, ValueError, _UnreadableError.
    """
    _want_regular(path.stat())
    # Some of what /proc and tracefs call regular waits for data as well.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _want_regular(os.fstat(descriptor))
        data = bytearray()
        while len(data) <= MAX_BYTES and (some := os.read(descriptor, _CHUNK_BYTES)):
            data += some
    finally:
        os.close(descriptor)
    return bytes(data)


def _want_regular(found: os.stat_result) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        name = _KINDS.get(kind, "no file")
        remedy = "" if kind == stat.S_IFDIR else "; write it into one"
        raise _UnreadableError(f"it is {name}, expected a regular file{remedy}")


def _parse(text: str) -> dict[str, Any]:
    try:
        return toml.loads(text)
    except toml.TooDeepError as error:
        raise _UnreadableError(f"{error}, expected TOML of a few levels", error.line) from None
    except tomli.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        end = "" if found else " at the end of the file"
        reason = _TUPLE.sub(_dotted_tuple, reason or str(error))
        raise _UnreadableError(f"{reason}{end}, expected TOML", line) from None
    except ValueError:  # int() of more digits than Python reads
        text = f"a number of more than {sys.get_int_max_str_digits()} digits"
        raise _UnreadableError(f"{text}, expected TOML of numbers that fit 64 bits") from None
    except RecursionError:
        raise _UnreadableError("nested too deeply, expected TOML of a few levels") from None


def _dotted_tuple(found: re.Match[str]) -> str:
    """Return a key as the file writes it, for one that stands there as Python's tuple."""
    import ast  # noqa: PLC0415 - a good file needs none

    return dotted(ast.literal_eval(found[0]))


def _located(path: Path, faults: Sequence[Fault], text: str, what: str) -> list[Problem]:
    """Return faults in file order; of more than `MAX_LISTED` the first, and how many more."""
    from lvsd.config.lines import Lines  # noqa: PLC0415 - a good file needs no lines

    wanted = [key for fault in faults for key in (fault.key, fault.first) if key is not None]
    lines = Lines(text, wanted)
    places = sorted(((lines.of(each.key), each) for each in faults), key=itemgetter(0))
    problems = []
    for line, fault in places[:MAX_LISTED]:
        first = f" (first on line {lines.of(fault.first)})" if fault.first else ""
        problems.append(Problem(path, line, dotted(fault.key), fault.text + first))
    if more := len(faults) - len(problems):
        least = "at least " if len(faults) >= MAX_FOUND else ""
        problems.append(Problem(path, 0, "", f"and {least}{more} more {what}"))
    return problems
