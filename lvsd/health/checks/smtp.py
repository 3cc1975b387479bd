"""``type = "smtp"``: the server greets, and answers EHLO (RFC 5321, 3.1 and 3.2).

Well is a greeting of 220, and 250 to EHLO with the name in ``helo``; QUIT comes then, so that
nothing stands in the server's log but a client that came and went.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.health.base import Target

MOST_LINES: Final = 128
"""Lines of an answer at the most; servers have a dozen extensions."""


class Smtp(Check):
    """Greets, and goes."""

    name = "smtp"
    options: ClassVar[tuple[Option, ...]] = (
        Option("helo", Kind.TEXT, "the name to say in EHLO", "localhost"),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        name: str = values["helo"]
        if not name.isascii() or not name or " " in name:
            raise ValueError("helo has to be of ASCII, and without spaces")
        self._hello = f"EHLO {name}\r\n".encode("ascii")

    async def probe(self, target: Target) -> str:
        """Return the greeting. Raise UnhealthyError, OSError."""
        async with Talk(target) as talk:
            greeting = await _answer(talk, b"220", "greeting")
            await talk.say(self._hello)
            await _answer(talk, b"250", "EHLO")
            with suppress(OSError, UnhealthyError):
                await talk.say(b"QUIT\r\n")
                await talk.line()
        return greeting


async def _answer(talk: Talk, expected: bytes, to: str) -> str:
    """Return the first line of an answer of any number (RFC 5321, 4.2.1). Raise UnhealthyError."""
    first = line = await talk.line()
    for _ in range(MOST_LINES):
        if not line.startswith(expected) or line[3:4] not in {b" ", b"-", b""}:
            raise UnhealthyError(f"{to}: {quoted(line)}, expected {expected.decode()}")
        if line[3:4] != b"-":
            return quoted(first)
        line = await talk.line()
    raise UnhealthyError(f"{to}: more than {MOST_LINES} lines")
