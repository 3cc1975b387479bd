"""``type = "grpc"``: one call of the health service, over HTTP/2."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded

from lvsd.health.base import UnhealthyError
from lvsd.health.checks.grpc import LONGEST
from tests.unit.health.servers import check, probed, says

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

    from tests.unit.health.servers import Serve

GOOD = ((":status", "200"), ("content-type", "application/grpc"))
SERVING = b"\0\0\0\0\x02\x08\x01"


class Answer(NamedTuple):
    """What a server says to a call; without ``body`` all headers are in one frame."""

    body: bytes = SERVING
    trailers: tuple[tuple[str, str], ...] = (("grpc-status", "0"),)
    headers: tuple[tuple[str, str], ...] = GOOD
    reset: bool = False


def server(answer: Answer, heard: list[object] | None = None) -> Serve:
    """Return a server that answers a call so, and notes what comes."""
    noted = [] if heard is None else heard

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        while data := await reader.read(65536):
            for event in http.receive_data(data):
                if isinstance(event, RequestReceived):
                    noted.append(dict(event.headers or ()))
                elif isinstance(event, DataReceived):
                    noted.append(event.data)
                elif isinstance(event, StreamEnded) and event.stream_id:
                    reply(http, event.stream_id, answer)
            writer.write(http.data_to_send())

    return serve


def reply(http: H2Connection, stream: int, answer: Answer) -> None:
    """Answer a call."""
    if answer.reset:
        http.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
    elif answer.body:
        http.send_headers(stream, answer.headers)
        for at in range(0, len(answer.body), 16384):
            http.send_data(stream, answer.body[at : at + 16384])
        http.send_headers(stream, answer.trailers, end_stream=True)
    else:
        http.send_headers(stream, answer.headers + answer.trailers, end_stream=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_server_that_serves_is_well(address: str) -> None:
    assert probed(check("grpc"), server(Answer()), address) == "SERVING"


def test_the_call_is_as_configured() -> None:
    heard: list[object] = []
    asked = check("grpc", grpc_service="shop.v1.Cart", host="shop.example")
    probed(asked, server(Answer(), heard))
    headers, body = heard
    assert isinstance(headers, dict)
    assert headers[":path"] == "/grpc.health.v1.Health/Check"
    assert headers[":authority"] == "shop.example"
    assert headers["content-type"] == "application/grpc"
    assert headers["te"] == "trailers"
    assert body == b"\0\0\0\0\x0e\x0a\x0cshop.v1.Cart"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(b"\0\0\0\0\x02\x08\x02"), "NOT_SERVING, expected SERVING"),
        (Answer(b"\0\0\0\0\0"), "UNKNOWN, expected SERVING"),
        (Answer(b"\0\0\0\0\x02\x08\x63"), "status '99', expected SERVING"),
        (Answer(b"", (("grpc-status", "12"),)), "UNIMPLEMENTED"),
        (Answer(b"", (("grpc-status", "5"), ("grpc-message", "no%20such"))), "NOT_FOUND: no such"),
        (Answer(b"", (("grpc-status", "x"),)), "status 'x'"),
        (Answer(b"", ()), "status ''"),
        (Answer(headers=((":status", "503"),)), "HTTP status 503, expected 200"),
        (Answer(b"\1\0\0\0\x02\x08\x01"), "an answer that is no message of gRPC"),
        (Answer(b"\0\0\0\0\x02\x10\x01"), "an answer that is no HealthCheckResponse"),
        (Answer(bytes(LONGEST + 1)), f"an answer of more than {LONGEST} bytes"),
        (Answer(reset=True), "HTTP/2: the server ends the call, REFUSED_STREAM"),
    ],
)
def test_everything_else_is_not_well(answer: Answer, why: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{re.escape(why)}$"):
        probed(check("grpc"), server(answer))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no HTTP/2: "),
        (b"\0\0\x04\x04\0\0\0\0\0\xff\xff\xff\xff", "no HTTP/2: "),
        (b"", "closed without an answer"),
    ],
)
def test_what_is_no_http_2_is_told(said: bytes, why: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{why}"):
        probed(check("grpc"), says(said, after=b"PRI"))


def test_over_tls_the_protocol_is_agreed_on(certificate: tuple[Path, Path]) -> None:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate)
    made.set_alpn_protocols(["h2"])
    asked = check("grpc", tls=True, host="shop.example:443", ca_file=certificate[0])
    assert probed(asked, server(Answer()), ssl=made) == "SERVING"


@pytest.mark.parametrize(
    "values", [{"host": "a b"}, {"grpc_service": "x" * 128}, {"tls": True, "sni": ".x"}]
)
def test_options_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"host|grpc_service|sni"):
        check("grpc", **values)
