"""``type = "http"`` and ``"https"``: the server answers a request as it should (RFC 9110, 9112).

One request on a connection of its own, HTTP/1.1 with ``Connection: close``. A redirect is an answer
like any other, and is not followed. The server is well if the status is one of ``status`` and, with
``body``, if what the expression looks for is within the first `MOST_BODY` bytes of the body.

Without ``body`` the connection is reset as soon as the headers are there: however much a server
sends, a check costs the same.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any, ClassVar, Final

from httptools import HttpParserError, HttpResponseParser

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.tcp import RESET_AT_CLOSE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
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
_OF_TLS: Final = (
    Option("tls_verify", Kind.SWITCH, "whether the certificate has to be good", True),
    Option("sni", Kind.TEXT, "the name that the server is asked for"),
    Option("ca_file", Kind.FILE, "certificates that are trusted, in PEM"),
    Option("client_certificate", Kind.FILE, "a certificate in PEM, for servers that want one"),
    Option("client_key", Kind.FILE, "its key, where that is in another file"),
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
        self._statuses: Collection[int] = values["status"]
        self._body: Pattern[str] | None = values["body"]
        if self._body is not None and values["method"] == "HEAD":
            raise ValueError("body needs another method: an answer to HEAD has none")

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return None

    def _server_name(self, _target: Target) -> str | None:
        return None

    async def probe(self, target: Target) -> str:
        """Return the status. Raise UnhealthyError, OSError."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET if target.family == 4 else socket.AF_INET6
        ours = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            await loop.sock_connect(ours, (target.address, target.port))
            answer = _Answer(self._request(target), wants_body=self._body is not None)
            transport, _ = await loop.create_connection(
                lambda: answer,
                sock=ours,
                ssl=self._tls,
                server_hostname=self._server_name(target) if self._tls else None,
            )
        except BaseException:
            ours.close()
            raise
        try:
            status = await answer.done
        finally:
            transport.abort()
        return self._judged(status, bytes(answer.body))

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
    options: ClassVar[tuple[Option, ...]] = _OF_HTTP + _OF_TLS

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._context = self._made()

    def _made(self) -> ssl.SSLContext:
        values = self.values
        ca_file: Path | None = values["ca_file"]
        certificate: Path | None = values["client_certificate"]
        if values["client_key"] and not certificate:
            raise ValueError("client_key needs client_certificate")
        try:
            context = ssl.create_default_context(cafile=ca_file)
            if certificate is not None:
                context.load_cert_chain(certificate, values["client_key"])
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"its certificates cannot be used: {error}") from error
        if not values["tls_verify"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def _tls(self) -> ssl.SSLContext:
        return self._context

    def _server_name(self, target: Target) -> str:
        named: str | None = self.values["sni"] or self.values["host"]
        return named.partition(":")[0] if named and not named.startswith("[") else target.address

    async def probe(self, target: Target) -> str:
        """Return the status. Raise UnhealthyError, OSError."""
        try:
            return await super().probe(target)
        except ssl.SSLCertVerificationError as error:
            raise UnhealthyError(f"TLS: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise UnhealthyError(f"TLS: {error.reason or 'the handshake failed'}") from error


class _Answer(asyncio.Protocol):
    """Sends a request, and takes in as much of the answer as is needed.

    ``done`` is the status to come, ``body`` what was read of the body.
    """

    def __init__(self, request: bytes, *, wants_body: bool) -> None:
        self._request = request
        self._wants_body = wants_body
        self._parser = HttpResponseParser(self)
        self._read = 0
        self._status = 0
        self.body = bytearray()
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        transport.write(self._request)  # type: ignore[attr-defined]  # it is a stream

    def data_received(self, data: bytes) -> None:
        """Take in a part."""
        if self.done.done():
            return
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(f"no HTTP: {error or type(error).__name__}")
            return
        if not self._status and self._read > MOST_HEAD:
            self._fail(f"headers too long: more than {MOST_HEAD >> 10} KiB")

    def connection_lost(self, error: Exception | None) -> None:
        """Do with what there is: the end of the connection may be that of the body."""
        if self._status:
            self._finish()
        elif error is not None:
            self._fail_with(error)
        else:
            self._fail(
                "closed without an answer" if not self._read else "closed within the headers"
            )

    def on_headers_complete(self) -> None:
        """Have the status; one of 1xx is followed by another (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status
            if not self._wants_body:
                self._finish()

    def on_body(self, data: bytes) -> None:
        """Have a part of the body."""
        if self._wants_body:
            self.body += data[: MOST_BODY - len(self.body)]
            if len(self.body) >= MOST_BODY:
                self._finish()

    def on_message_complete(self) -> None:
        """Have all of it."""
        if self._status:
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self._status)

    def _fail(self, why: str) -> None:
        self._fail_with(UnhealthyError(why))

    def _fail_with(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


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
