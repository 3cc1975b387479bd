"""TOML of a few levels: what a configuration has, and what can be read in time.

tomli reads it, in a third of the time that tomllib takes. That time grows with the square of the
words in a dotted key, so that a file of some hundred kilobytes would hold it up for minutes.
"""

from __future__ import annotations

import re
from typing import Any, Final

import tomli

MAX_WORDS: Final = 16
"""Words of a dotted key; the longest one of a configuration has three."""

_WORD: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DOT: Final = r"[ \t]*+\.[ \t]*+"
_REST: Final = r"""(?:"(?:[^"\\\n]|\\.)*+|'[^'\n]*+)"""
_MANY_DOTS: Final = re.compile(rf"^(?:[^.\n]*+\.){{{MAX_WORDS}}}", re.MULTILINE)
_TOKEN: Final = re.compile(
    r'\#[^\n]*+|"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\Z)'
    r"|'''(?:[^']|'(?!''))*+(?:'''|\Z)"
    rf"|(?P<key>{_WORD}(?:{_DOT}{_WORD}){{{MAX_WORDS},}}+)|{_WORD}|{_REST}",
    re.DOTALL,
)
"""Comments and strings, which may hold anything, a key that is too long, and other words.

What has no end ends with the file, or its line: nothing is looked at twice.
"""


class TooDeepError(ValueError):
    """A key has too many words. ``line`` counts from 1."""

    def __init__(self, words: int, line: int) -> None:
        super().__init__(f"a key of {words} words")
        self.line = line


def loads(text: str) -> dict[str, Any]:
    """Return the document of a text.

    Raise `TooDeepError`, tomli.TOMLDecodeError, or what else tomli raises: ValueError for a
    number that is too long, RecursionError.
    """
    if _MANY_DOTS.search(text):
        for found in _TOKEN.finditer(text):
            if key := found["key"]:
                words = len(re.findall(_WORD, key))
                raise TooDeepError(words, text.count("\n", 0, found.start()) + 1)
    return tomli.loads(text)
