"""``type = "http"`` and ``"https"``: the server answers a request as it should (RFC 9110, 9112).

One request on a connection of its own, HTTP/1.1 with ``Connection: close``. A redirect is an answer
like any other, and is not followed. The server is well if the status is one of ``status`` and, with
``body``, if what the expression looks for is within the first `MOST_BODY` bytes of the body.

Without ``body`` the connection is reset as soon as the headers are there: however much a server
sends, a check costs the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks import tls
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from re import Pattern

    from lvsd.health.base import Target

MOST_HEAD: Final = 64 << 10
"""Bytes of status line and headers that are read at the most."""

MOST_BODY: Final = 64 << 10
"""Bytes of the body that are looked through."""

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")

_OF_HTTP: Final = (
    Option("method", Kind.CHOICE, "a method", "GET", METHODS),
    Option("path", Kind.TEXT, "a path such as /health", "/"),
    Option("host", Kind.TEXT, "the name of a site, for the Host header"),
    Option(
        "status",
        Kind.STATUSES,
        'statuses such as [200, "300-399"]',
        frozenset(range(200, 400)),
        range(100, 600),
    ),
    Option("body", Kind.PATTERN, "a regular expression that is to be found in the body"),
)


class Http(Check):
    """Asks for a path."""

    name = "http"
    options: ClassVar[tuple[Option, ...]] = _OF_HTTP

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        path: str = values["path"]
        if not path.startswith("/") and path != "*":
            raise ValueError("path has to begin with /")
        for word in ("path", "host"):
            text = values[word] or ""
            if not text.isascii() or any(each.isspace() for each in text):
                raise ValueError(f"{word} has to be of ASCII, and without spaces")
        self._tls: tls.Tls | None = None
        self._statuses: Collection[int] = values["status"]
        self._body: Pattern[str] | None = values["body"]
        if self._body is not None and values["method"] == "HEAD":
            raise ValueError("body needs another method: an answer to HEAD has none")

    async def probe(self, target: Target) -> str:
        """Return the status. Raise UnhealthyError, OSError."""
        answer = _Answer(wants_body=self._body is not None)
        async with Talk(target, self._tls) as talk:
            await talk.say(self._request(target))
            while not answer.is_complete:
                answer.take(await talk.some())
        return self._judged(answer.status, bytes(answer.body))

    def _request(self, target: Target) -> bytes:
        values = self.values
        host = values["host"] or _host(target)
        lines = [
            f"{values['method']} {values['path']} HTTP/1.1",
            f"Host: {host}",
            "User-Agent: lvsd",
            "Connection: close",
            *(["Content-Length: 0"] if values["method"] == "POST" else []),
            "\r\n",
        ]
        return "\r\n".join(lines).encode("ascii")

    def _judged(self, status: int, body: bytes) -> str:
        if status not in self._statuses:
            raise UnhealthyError(f"HTTP status {status}, expected {_ranges(self._statuses)}")
        if self._body is not None and not self._body.search(body.decode("utf-8", "replace")):
            raise UnhealthyError(f"HTTP status {status}, but body lacks {self._body.pattern!r}")
        return f"HTTP status {status}"


class Https(Http):
    """Asks for a path over TLS."""

    name = "https"
    options: ClassVar[tuple[Option, ...]] = (*_OF_HTTP, *tls.OPTIONS)

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._tls = tls.Tls(values)


class _Answer:
    """An answer that is taken in part by part, as far as it is needed.

    ``status`` is 0 until the headers are there; ``body`` is what was read of the body.
    """

    def __init__(self, *, wants_body: bool) -> None:
        self._wants_body = wants_body
        self._parser = HttpResponseParser(self)
        self._length = 0
        self.status = 0
        self.body = bytearray()
        self.is_complete = False

    def take(self, data: bytes) -> None:
        """Take in a part; none is the end of the connection. Raise UnhealthyError."""
        if not data:
            self._end()
            return
        self._length += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.is_complete = True
        except HttpParserError as error:
            if not self.is_complete:
                why = quoted(str(error) or type(error).__name__)
                raise UnhealthyError(f"no HTTP: {why}") from error
        if not self.status and self._length > MOST_HEAD:
            raise UnhealthyError(f"headers too long: more than {MOST_HEAD >> 10} KiB")

    def _end(self) -> None:
        """Take the end of the connection, which may be that of the body."""
        if not self.status:
            where = "within the headers" if self._length else "without an answer"
            raise UnhealthyError(f"closed {where}")
        self.is_complete = True

    def on_headers_complete(self) -> None:
        """Have the status; one of 1xx but 101 is followed by another (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self.status = status
            self.is_complete = not self._wants_body

    def on_body(self, data: bytes) -> None:
        """Have a part of the body."""
        if self._wants_body:
            self.body += data[: MOST_BODY - len(self.body)]
            self.is_complete = self.is_complete or len(self.body) >= MOST_BODY

    def on_message_complete(self) -> None:
        """Have all of it."""
        self.is_complete = self.is_complete or self.status > 0


def _host(target: Target) -> str:
    return f"[{target.address}]" if target.family == 6 else target.address


def _ranges(numbers: Collection[int]) -> str:
    """Return numbers as people write them: ``200-399``, ``200, 204``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
