"""``type = "grpc"``: the server's health service says SERVING (grpc.health.v1).

One call of ``/grpc.health.v1.Health/Check`` for the service in ``grpc_service``, or the server as a
whole, by HTTP/2 (RFC 9113): in cleartext with prior knowledge, or with ``tls = true`` over TLS. A
server that has no health service (UNIMPLEMENTED) or does not know that service (NOT_FOUND) is not
well, as Kubernetes has it. Sources: grpc/doc/health-checking.md, PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks import tls
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from h2.events import Event

    from lvsd.health.base import Target

PATH: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = 1
STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""By their numbers, which ``grpc-status`` has."""

LONGEST: Final = 4096
"""Bytes of the answer at the most; it has 7."""

_SETTINGS: Final = b"\x04"
"""The type of a server's first frame, its fourth byte (RFC 9113, 3.4 and 4.1)."""

_STATUS_FIELD: Final = 0x08
_SERVICE_FIELD: Final = 0x0A
"""Protocol Buffers' keys: field 1 as a varint, field 1 as a length and text."""


class Grpc(Check):
    """Calls the health service."""

    name = "grpc"
    options: ClassVar[tuple[Option, ...]] = (
        Option("grpc_service", Kind.TEXT, "a service such as shop.v1.Cart", ""),
        Option("host", Kind.TEXT, "the name of a site, for :authority"),
        Option("tls", Kind.SWITCH, "whether the server speaks TLS", False),
        *tls.OPTIONS,
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        host: str = values["host"] or ""
        if not host.isascii() or " " in host:
            raise ValueError("host has to be of ASCII, and without spaces")
        self._tls = tls.Tls(values) if values["tls"] else None
        if self._tls is not None:
            self._tls.context.set_alpn_protocols(["h2"])
        service = values["grpc_service"].encode()
        if len(service) > 127:
            raise ValueError("grpc_service is longer than 127 bytes")
        message = bytes([_SERVICE_FIELD, len(service)]) + service if service else b""
        self._body = struct.pack("!BI", 0, len(message)) + message

    async def probe(self, target: Target) -> str:
        """Return what it said. Raise UnhealthyError, OSError."""
        call = _Call()
        async with Talk(target, self._tls) as talk:
            await talk.say(call.begin(self._headers(target), self._body))
            while not call.has_ended:
                await talk.say(call.take(await talk.some()))
            await talk.say(call.end())
        return call.judged()

    def _headers(self, target: Target) -> list[tuple[str, str]]:
        address = f"[{target.address}]" if target.family == 6 else target.address
        return [
            (":method", "POST"),
            (":scheme", "http" if self._tls is None else "https"),
            (":path", PATH),
            (":authority", self.values["host"] or f"{address}:{target.port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "lvsd"),
        ]


class _Call:
    """A call on a connection of its own; each method returns what is to be sent, if anything."""

    def __init__(self) -> None:
        self._http = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._is_first = True
        self.has_ended = False

    def begin(self, headers: list[tuple[str, str]], body: bytes) -> bytes:
        """Call."""
        self._http.initiate_connection()
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, headers)
        self._http.send_data(stream, body, end_stream=True)
        return self._http.data_to_send()

    def take(self, data: bytes) -> bytes:
        """Take in a part; none is the end of the connection. Raise UnhealthyError."""
        if not data:
            raise UnhealthyError("closed without an answer")
        if self._is_first and data[3:4] not in {_SETTINGS, b""}:
            raise UnhealthyError(f"no HTTP/2: {quoted(data)}")
        self._is_first = False
        try:
            events = self._http.receive_data(data)
        except Exception as error:
            why = quoted(str(error) or type(error).__name__)
            raise UnhealthyError(f"no HTTP/2: {why}") from error
        self._hear(events)
        return self._http.data_to_send()

    def end(self) -> bytes:
        """Say that nothing follows."""
        self._http.close_connection()
        return self._http.data_to_send()

    def _hear(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                    self._headers |= {str(name): str(value) for name, value in headers or ()}
                case DataReceived(data=data):
                    self._body += data or b""
                    if len(self._body) > LONGEST:
                        raise UnhealthyError(f"an answer of more than {LONGEST} bytes")
                case StreamEnded():
                    self.has_ended = True
                case StreamReset(error_code=code) | ConnectionTerminated(error_code=code):
                    if not self.has_ended:
                        name = getattr(code, "name", code)
                        raise UnhealthyError(f"HTTP/2: the server ends the call, {name}")

    def judged(self) -> str:
        """Return what was said. Raise UnhealthyError."""
        http = self._headers.get(":status", "")
        if http != "200":
            raise UnhealthyError(f"HTTP status {quoted(http)}, expected 200")
        code = self._headers.get("grpc-status", "")
        if code != "0":
            said = quoted(unquote(self._headers.get("grpc-message", "")))
            raise UnhealthyError(f"{_named(CODES, code)}: {said}" if said else _named(CODES, code))
        status = _status(bytes(self._body))
        if status != SERVING:
            raise UnhealthyError(f"{_named(STATUSES, str(status))}, expected SERVING")
        return STATUSES[SERVING]


def _named(names: tuple[str, ...], number: str) -> str:
    if number.isdecimal() and number.isascii() and len(number) < 3 and int(number) < len(names):
        return names[int(number)]
    return f"status {quoted(number)!r}"


def _status(body: bytes) -> int:
    """Return the status in a HealthCheckResponse; 0 is not sent. Raise UnhealthyError."""
    message = body[5:]
    if body[:5] != struct.pack("!BI", 0, len(message)):
        raise UnhealthyError("an answer that is no message of gRPC")
    if not message:
        return 0
    if len(message) < 2 or message[0] != _STATUS_FIELD or message[1] > 127:
        raise UnhealthyError("an answer that is no HealthCheckResponse")
    return message[1]
