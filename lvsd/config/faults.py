"""What is wrong with a configuration, in an operator's words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from lvsd.printable import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Key: TypeAlias = tuple[str | int, ...]
"""The way to a value in the document, such as ("service", 0, "server", 2, "weight")."""

MAX_SHOWN = 60
"""Characters of a string that a message repeats."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

DOCUMENT = "docs/configuration.md"
"""Where all keys are listed and explained."""

_SYNONYMS = {
    "round-robin": "rr",
    "roundrobin": "rr",
    "weighted-round-robin": "wrr",
    "least-conn": "lc",
    "leastconn": "lc",
    "least-connection": "lc",
    "least-connections": "lc",
    "weighted-least-connection": "wlc",
    "weighted-least-connections": "wlc",
    "source-hash": "sh",
    "source-hashing": "sh",
    "destination-hash": "dh",
    "destination-hashing": "dh",
    "maglev": "mh",
    "maglev-hashing": "mh",
    "shortest-expected-delay": "sed",
    "never-queue": "nq",
    "weighted-failover": "fo",
    "failover": "fo",
    "weighted-overflow": "ovf",
    "overflow": "ovf",
    "masq": "nat",
    "masquerade": "nat",
    "masquerading": "nat",
    "dnat": "nat",
    "direct": "dr",
    "direct-routing": "dr",
    "dsr": "dr",
    "gateway": "dr",
    "gatewaying": "dr",
    "tunnel": "tun",
    "tunneling": "tun",
    "full-nat": "fullnat",
    "snat": "fullnat",
    "proxy": "proxy-v2",
    "proxy-protocol": "proxy-v2",
    "off": "none",
    "warn": "warning",
    "err": "error",
}
"""What the words of this file are called elsewhere."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: with which key, and what.

    ``first`` is the key that a duplicate repeats.
    """

    key: Key
    text: str
    first: Key | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault with its place in the file. ``line`` counts from 1; 0: the file as a whole."""

    file: Path
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self._place, self.key, self.text)))

    @property
    def as_warning(self) -> str:
        """The same line for what is only a warning, and says so."""
        return ": ".join(filter(None, (self._place, "warning", self.key, self.text)))

    def as_json(self) -> dict[str, object]:
        """Return what programs are told."""
        return {"line": self.line, "key": self.key, "text": self.text}

    @property
    def _place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)


def dotted(key: Key) -> str:
    """Return a key as people write it, ``service.server.weight``; the line says which one."""
    words = (part for part in key if isinstance(part, str))
    return ".".join(
        word if len(word) <= MAX_SHOWN and _BARE_KEY.fullmatch(word) else shown(word)
        for word in words
    )


def shown(value: object) -> str:
    """Return a value as TOML writes it, shortened, on one line whatever it holds."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            short = value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 3] + "..."
            return to_json(short)
        case int() if value.bit_length() > 64:
            return f"a number of {value.bit_length()} bits"
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(value)


def kind(value: object) -> str:
    """Return a value and what it is: ``80 is a whole number``."""
    match value:
        case dict() | list():
            return f"it is {shown(value)}"
        case bool():
            noun = "a truth value"
        case int():
            noun = "a whole number"
        case float():
            noun = "a fraction"
        case str():
            noun = "a string"
        case datetime() | date() | time():
            noun = "a date or time"
        case _:
            noun = "something else"
    return f"{shown(value)} is {noun}"


def one_of(words: Iterable[str]) -> str:
    """Return the choice as a phrase: ``one of: a, b, c``, or the only one in quotes."""
    known = list(words)
    return shown(known[0]) if len(known) == 1 else f"one of: {', '.join(known)}"


def unknown(word: str, known: Iterable[str]) -> str:
    """Return the message for a word that is not known, with the nearest one that is."""
    known = list(known)
    return f"{shown(word)} is unknown{_hint(word, known)}, expected {one_of(known)}"


def unknown_key(key: Key, tables: Mapping[str, Iterable[str]], table: str) -> Fault:
    """Return the fault of a key that ``table`` does not have, with where it may belong.

    All keys of the table are listed where neither another table nor another word suggests itself.
    ``tables`` holds the keys of every table by the table's name; "" is the top of the file.
    """
    word = str(key[-1])
    known = list(tables[table])
    others = [name for name, keys in tables.items() if name != table and word in keys]
    hint = f" (it belongs to {' and '.join(others)})" if others else _hint(word, known)
    where = f"a key of {table}" if table else "a table"
    which = f" (see {DOCUMENT})" if hint else f": {_list(known)}"
    return Fault(key, f"unknown{hint}, expected {where}{which}")


def _hint(word: str, known: Iterable[str]) -> str:
    """Return the question for the word that was meant; empty where none is near."""
    return _guess(word, tuple(known))


@lru_cache(maxsize=256)
def _guess(word: str, known: tuple[str, ...]) -> str:
    """Return the hint; a large file has the same mistake over and over."""
    from difflib import get_close_matches  # noqa: PLC0415 - a good file needs no guesses

    alike = {each.casefold().replace("_", "-"): each for each in known}
    plain = word.casefold().replace("_", "-").replace(" ", "-")
    meant = [_SYNONYMS.get(plain, ""), *get_close_matches(plain, alike, n=1)]
    found = next((alike[each] for each in meant if each in alike), None)
    return f" (did you mean {found}?)" if found else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
