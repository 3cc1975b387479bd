"""From a file to a configuration, or to everything that is wrong with it."""

from __future__ import annotations

import ast
import gc
import os
import re
import stat
import sys
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from lvsd.config import rules, toml
from lvsd.config.faults import Fault, Problem, dotted, unknown_key, worded
from lvsd.config.lines import Lines
from lvsd.config.model import Config
from lvsd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from lvsd.config.faults import Key

_TUPLE = re.compile(r"\((['\"]).*\)")
"""A key as tomllib's messages write it, as Python's tuple."""

MAX_BYTES = 16 * 2**20
"""A longer file is refused unread: it is something else."""

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
    """Return the configuration in a file and no problem, or None and all, in file order."""
    with _without_collections():
        try:
            text = _read(path)
            document = _parse(text)
        except _UnreadableError as error:
            return None, [Problem(path, error.line, "", error.text)]
        config, faults = validate(document)
        if not faults:
            return config, []
        return None, _located(path, faults, text)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Look for no garbage in the block: a document is many objects, and next to none is garbage.

    Of 2,000 services that is a quarter of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def located(path: Path, faults: Iterable[Fault]) -> list[Problem]:
    """Return faults with their lines in a file, in file order; without lines if it is gone now."""
    found = list(faults)
    return _located(path, found, text_of(path) or "") if found else []


def validate(document: dict[str, Any]) -> tuple[Config | None, list[Fault]]:
    """Return the configuration that a document holds and no fault, or None and all faults."""
    faults = []
    config = None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        faults += [_fault(details) for details in error.errors(include_url=False)]
    faults += rules.faults(document)
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
    except tomllib.TOMLDecodeError as error:
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
    return dotted(ast.literal_eval(found[0]))


def _fault(details: ErrorDetails) -> Fault:
    """Word one error of pydantic's, with the description of the field that it is about."""
    key: Key = details["loc"]
    if details["type"] == "extra_forbidden":
        table = ".".join(part for part in key[:-1] if isinstance(part, str))
        return unknown_key(key, _keys_of_tables(), table)
    field = _field(key)
    return Fault(key, worded(details, (field and field.description) or "another value"))


def _field(key: Key) -> FieldInfo | None:
    """Return the model's field that a key belongs to."""
    model: type[BaseModel] | None = Config
    field = None
    for word in key:
        if isinstance(word, str) and model is not None:
            field = _fields(model).get(word)
            model = _model_in(field.annotation) if field else None
    return field


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a table's fields by the keys of the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _keys_of_tables(model: type[BaseModel] = Config, name: str = "") -> dict[str, list[str]]:
    """Return the keys of every table by the table's dotted name, as in the file."""
    tables = {name: list(_fields(model))}
    for word, field in _fields(model).items():
        if inner := _model_in(field.annotation):
            tables |= _keys_of_tables(inner, f"{name}.{word}" if name else word)
    return tables


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the table that an annotation is of, itself or as elements of a tuple."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _located(path: Path, faults: Iterable[Fault], text: str) -> list[Problem]:
    lines = Lines(text)
    problems = []
    for fault in faults:
        first = f" (first on line {lines.of(fault.first)})" if fault.first else ""
        line, key = lines.of(fault.key), dotted(fault.key)
        problems.append(Problem(path, line, key, fault.text + first))
    return sorted(problems, key=lambda problem: problem.line)
