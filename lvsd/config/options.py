"""The keys that a check has of its own: their values, by what the check says of them.

Each function takes what stands in the file, and raises ValueError with the whole message.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvsd.config.faults import kind, shown, unknown
from lvsd.config.fields import boolean, whole
from lvsd.health.base import Kind

if TYPE_CHECKING:
    from lvsd.health.base import Option

_STATUSES = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)


def value_of(option: Option, value: object) -> Any:
    """Return the value for the check; it can be hashed."""
    match option.kind:
        case Kind.NUMBER:
            return whole(min(option.allowed), max(option.allowed), option.expected)(value)
        case Kind.SWITCH:
            return boolean(value)
        case Kind.STATUSES:
            return frozenset(number for each in _list(option, value) for number in _range(each))
        case Kind.COMMAND:
            return _command(option, value)
        case _:
            return _of_text(option, _text(option, value))


def _of_text(option: Option, text: str) -> Any:
    if option.kind is Kind.CHOICE and text not in option.allowed:
        raise ValueError(unknown(text, option.allowed))
    if option.kind is Kind.PATTERN:
        try:
            return re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            reason = f"{shown(text)} is no regular expression: {error}"
            raise ValueError(f"{reason}, expected {option.expected}") from None
    if option.kind is Kind.FILE:
        return _file(text, option.expected)
    return text


def _text(option: Option, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{kind(value)}, expected {option.expected}")  # noqa: TRY004 - its only error
    if not value.isprintable():
        raise ValueError(f"{shown(value)} has unprintable characters, expected {option.expected}")
    return value


def _file(text: str, expected: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{shown(text)} is not an absolute path, expected {expected}")
    return path


def _list(option: Option, value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{kind(value)}, expected {option.expected}")
    return value


def _command(option: Option, value: object) -> tuple[str, ...]:
    words = tuple(_text(option, each) for each in _list(option, value))
    _file(words[0], option.expected)
    return words


def _range(value: object) -> range:
    expected = "a number from 0 to 65535, or a range of them such as 300-399"
    if isinstance(value, str) and (found := _STATUSES.fullmatch(value)):
        low, high = int(found[1]), int(found[2])
        if low <= high <= 0xFFFF:
            return range(low, high + 1)
        raise ValueError(f"{shown(value)} is no range, expected {expected}")
    number = whole(0, 0xFFFF, expected)(value)
    return range(number, number + 1)
