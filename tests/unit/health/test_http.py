"""``type = "http"`` and ``"https"``: one request, and what the answer has to be."""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import Target, UnhealthyError
from lvsd.health.checks.http import MOST_BODY, MOST_HEAD
from tests.unit.health.servers import check, probed, says

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_good_status_is_well(address: str) -> None:
    assert probed(check("http"), says(OK), address) == "HTTP status 200"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, "200-399"), ({200, 204}, "200, 204"), ({200, 201, 202, 404}, "200-202, 404")],
)
def test_another_status_is_not_and_says_which_are(status: set[int] | None, expected: str) -> None:
    values = {} if status is None else {"status": frozenset(status)}
    answer = says(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(UnhealthyError, match=f"^HTTP status 503, expected {re.escape(expected)}$"):
        probed(check("http", **values), answer)


def test_the_request_is_as_configured() -> None:
    asked: list[bytes] = []

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    probed(check("http", method="HEAD", path="/health?a=b", host="shop.example"), serve)
    first, *headers = asked[0].decode().split("\r\n")
    assert first == "HEAD /health?a=b HTTP/1.1"
    assert {"Host: shop.example", "Connection: close"} <= set(headers)


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    there = says(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
    assert probed(check("http"), there) == "HTTP status 302"


def test_an_interim_answer_is_not_the_answer() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert probed(check("http"), says(interim, OK)) == "HTTP status 200"


def test_another_protocol_that_nobody_asked_for_is_an_answer() -> None:
    there = says(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\x00\x01")
    with pytest.raises(UnhealthyError, match=r"^HTTP status 101, expected 200-399$"):
        probed(check("http"), there)
    with pytest.raises(UnhealthyError, match=r"^HTTP status 101, expected 200-399$"):
        probed(check("http", body=re.compile("x")), there)


def test_a_body_of_nothing_but_framing_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1;" + b"x" * (2 << 20) + b"\r\ny\r\n"
    with pytest.raises(UnhealthyError):
        probed(check("http", body=re.compile("yy")), says(head, chunk * 2, b"0\r\n\r\n"))


@pytest.mark.parametrize("length", [b"Content-Length: 5\r\n", b""])
def test_the_body_has_to_have_what_is_looked_for(length: bytes) -> None:
    answer = says(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", b"he", b"llo")
    assert probed(check("http", body=re.compile("el+o$")), answer) == "HTTP status 200"
    with pytest.raises(UnhealthyError, match=r"^HTTP status 200, but body lacks 'bye'$"):
        probed(check("http", body=re.compile("bye")), answer)


def test_of_a_body_only_the_beginning_is_looked_through() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MOST_BODY)
    answer = says(head + b"x" * (2 * MOST_BODY - 3) + b"end")
    with pytest.raises(UnhealthyError, match="lacks 'end'"):
        probed(check("http", body=re.compile("end")), answer)


def test_a_gigabyte_costs_no_more_than_its_headers() -> None:
    sent: list[int] = [0]

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(16 << 10):
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent[0] += 1 << 16

    assert probed(check("http"), serve) == "HTTP status 200"
    assert sent[0] < 64 << 20


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x00\x01\x02 garbage\r\n\r\n", "no HTTP: "),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP: "),
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nServer: x", "closed within the headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 8192, "headers too long"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 * MOST_HEAD), "headers too long"),
    ],
)
def test_what_is_no_answer_is_told(answer: bytes, said: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{said}"):
        probed(check("http"), says(answer))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"path": "health"}, "path has to begin with /"),
        ({"path": "/a b"}, "path has to be of ASCII, and without spaces"),
        ({"path": "/a\r\nHost: b"}, "path has to be of ASCII, and without spaces"),
        ({"host": "sh\N{LATIN SMALL LETTER O WITH DIAERESIS}p"}, "host has to be of ASCII"),
        ({"method": "HEAD", "body": re.compile("x")}, "body needs another method"),
    ],
)
def test_options_that_do_not_fit_are_refused(values: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}"):
        check("http", **values)


# --- over TLS ----------------------------------------------------------------------------------


@pytest.fixture(name="files")
def _files(certificate: tuple[Path, Path]) -> dict[str, Path]:
    return dict(zip(("good", "key"), certificate, strict=True))


def context(files: dict[str, Path]) -> ssl.SSLContext:
    """Return what a server needs for TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files["good"], files["key"])
    return made


def test_a_certificate_that_is_trusted_and_for_the_name_is_well(files: dict[str, Path]) -> None:
    asked = check("https", host="shop.example", ca_file=files["good"])
    assert probed(asked, says(OK), ssl=context(files)) == "HTTP status 200"


def test_what_is_wrong_with_a_certificate_is_told(files: dict[str, Path]) -> None:
    with pytest.raises(UnhealthyError, match=r"^TLS: self-signed certificate"):
        probed(check("https", host="shop.example"), says(OK), ssl=context(files))
    other = check("https", host="other.example", ca_file=files["good"])
    with pytest.raises(UnhealthyError, match=r"^TLS: Hostname mismatch"):
        probed(other, says(OK), ssl=context(files))


def test_without_verification_any_certificate_will_do(files: dict[str, Path]) -> None:
    asked = check("https", tls_verify=False)
    assert probed(asked, says(OK), ssl=context(files)) == "HTTP status 200"


def test_a_server_that_speaks_no_tls_is_not_well() -> None:
    with pytest.raises(UnhealthyError, match=r"^TLS: wrong version number$"):
        probed(check("https"), says(OK, after=b""))


def test_the_server_is_asked_for_the_name(files: dict[str, Path]) -> None:
    asked: list[str | None] = []
    server = context(files)
    server.sni_callback = lambda _tls, name, _context: asked.append(name)
    values = {"tls_verify": False, "host": "shop.example"}
    probed(check("https", **values), says(OK), ssl=server)
    probed(check("https", **values, sni="other.example"), says(OK), ssl=server)
    assert asked == ["shop.example", "other.example"]


def test_a_client_certificate_is_shown(files: dict[str, Path]) -> None:
    server = context(files)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(files["good"])
    shown = {"client_certificate": files["good"], "client_key": files["key"]}
    assert probed(check("https", tls_verify=False, **shown), says(OK), ssl=server)
    with pytest.raises((UnhealthyError, OSError)):
        probed(check("https", tls_verify=False), says(OK), ssl=server)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(
    files: dict[str, Path], tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret"]
    command += ["-in", str(files["key"]), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ValueError, match="certificates cannot be used"):
        check("https", client_certificate=files["good"], client_key=locked)


def test_a_name_that_no_server_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^sni cannot be '\.example'"):
        check("https", sni=".example")


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for values in ({"ca_file": bad}, {"ca_file": tmp_path / "none"}, {"client_key": bad}):
        with pytest.raises(ValueError, match="certificate"):
            check("https", **values)


def test_a_probe_that_is_given_up_leaves_nothing_open(recwarn: pytest.WarningsRecorder) -> None:
    async def serve(reader: StreamReader, _writer: StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            target = Target("127.0.0.1", listening.sockets[0].getsockname()[1])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await check("http").probe(target)

    asyncio.run(run())
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
