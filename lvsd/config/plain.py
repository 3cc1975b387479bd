"""TOML as nearly all configurations are written: a key and its value, or a header, on each line.

tomllib goes through a text character by character: of 2,000 services it takes 0.35 s, this 0.06 s
(`bench.start`). What is written in another way is left to tomllib, so that there is nothing that
only this reader accepts: dotted keys and keys in quotes, escapes, values of several lines, tables
in braces, other numbers than small decimal ones, and whatever is wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE: Final = r"[ \t]*+"
_BARE: Final = r"[A-Za-z0-9_-]++"
_BASIC: Final = r'"[^"\\\x00-\x08\x0a-\x1f\x7f]*+"'
_LINE: Final = re.compile(
    rf"""^{_SPACE}(?:
        ({_BARE}){_SPACE}={_SPACE}(?:
            "([^"\\\x00-\x08\x0a-\x1f\x7f]*+)"
            | '([^'\x00-\x08\x0a-\x1f\x7f]*+)'
            | (0|-?[1-9][0-9]{{0,17}}|true|false)
            | (\[{_SPACE}(?:{_BASIC}{_SPACE}(?:,{_SPACE}{_BASIC}{_SPACE})*,?{_SPACE})?\])
        )
        | (\[\[?){_SPACE}({_BARE})(?:{_SPACE}\.{_SPACE}({_BARE}))?{_SPACE}(\]\]?)
    )?{_SPACE}(?:\#[^\x00-\x08\x0a-\x1f\x7f]*+)?$""".replace("[ \\t]", r"[\x20\t]"),
    re.MULTILINE | re.VERBOSE,
)
"""A line: key, then a string, one in single quotes, a word or number, or a list of strings; or the
brackets of a header around one word or two; or nothing. A comment may follow."""

_STRING: Final = re.compile(r'"([^"]*)"')
_WORDS: Final = {"true": True, "false": False}
_SLICE: Final = 1 << 16
"""Characters that are taken apart at a time: parts of a long text take much more room than it."""


class _OtherwiseError(Exception):
    """The text is not a plain one."""


def loads(text: str) -> dict[str, Any] | None:
    """Return the document of a text, or None if it is not a plain one. Raise nothing."""
    document = _Document()
    try:
        for lines in _slices(text.replace("\r\n", "\n")):
            document.take(lines)
    except _OtherwiseError:
        return None
    return document.root


class _Document:
    """What was read so far."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._table = self.root
        self._arrays: dict[str, list[dict[str, Any]]] = {}
        """The arrays of tables that headers of one word make."""
        self._inner: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """Those in the present tables of `_arrays`, that headers of two words make."""

    def take(self, lines: str) -> None:
        """Take in some lines. Raise _OtherwiseError."""
        found = _LINE.findall(lines)
        if len(found) != lines.count("\n") + 1:
            raise _OtherwiseError
        table = self._table
        for key, string, literal, word, strings, opened, first, second, closed in found:
            if key:
                if key in table:
                    raise _OtherwiseError
                if string:
                    table[key] = string
                elif word:
                    table[key] = _WORDS[word] if word in _WORDS else int(word)
                else:
                    table[key] = _STRING.findall(strings) if strings else literal
            elif first:
                if len(opened) != len(closed):
                    raise _OtherwiseError
                table = {}
                if second:
                    self._put_inside(first, second, table, opened)
                else:
                    self._put(first, table, opened)
        self._table = table

    def _put_inside(self, first: str, second: str, table: dict[str, Any], opened: str) -> None:
        place = first, second
        if opened == "[[" and place in self._inner:
            self._inner[place].append(table)
            return
        if opened == "[" or first not in self._arrays or second in self._arrays[first][-1]:
            raise _OtherwiseError
        self._inner[place] = self._arrays[first][-1][second] = [table]

    def _put(self, word: str, table: dict[str, Any], opened: str) -> None:
        if opened == "[[" and word in self._arrays:
            self._arrays[word].append(table)
            for place in [each for each in self._inner if each[0] == word]:
                del self._inner[place]
        elif word in self.root:
            raise _OtherwiseError
        elif opened == "[[":
            self._arrays[word] = self.root[word] = [table]
        else:
            self.root[word] = table


def _slices(text: str) -> Iterator[str]:
    """Yield the text in parts of whole lines, without the newline between two parts."""
    begin = 0
    while (end := text.find("\n", begin + _SLICE)) >= 0:
        yield text[begin:end]
        begin = end + 1
    yield text[begin:]
