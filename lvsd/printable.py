"""Text that a terminal and a log show as what it is.

A path, a link's name or another program's may hold what moves the cursor, colours the rest or
turns its direction (U+202A to U+202E, U+2066 to U+2069): a line could look like another one.
"""

from __future__ import annotations

import json


def printable(text: str) -> str:
    r"""Return text on one line, with escapes such as ``\x1b`` and ``\u202e`` for the rest."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text
    )


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON in which every mark shows; other scripts stay readable."""
    text = json.dumps(value, default=str, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() or mark == "\n" else _json_escape(mark) for mark in text
    )


def _json_escape(mark: str) -> str:
    """Return JSON's escape of a mark; json itself leaves U+007F as it is."""
    return json.dumps(mark)[1:-1] if mark > "\x7f" else f"\\u{ord(mark):04x}"
