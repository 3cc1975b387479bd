"""Traces: two formats, and a line number for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvsd.bench.trace import read
from lvsd.bench.workloads import Arrival
from lvsd.errors import DataError, InputError
from schedulers.base import Flow

CSV = """\
client,arrival_s,lifetime_s,destination,comment
203.0.113.7,0,1.5,192.0.2.9,first

203.0.113.8,0.25,0.5,,
"""
LINES = """\
{"client": "203.0.113.7", "arrival_s": 0, "lifetime_s": 1.5, "destination": "192.0.2.9"}

{"client": "203.0.113.8", "arrival_s": 0.25, "lifetime_s": 0.5, "more": true}
"""
HEAD = "arrival_s,lifetime_s,client\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    with pytest.raises((DataError, InputError)) as raised:
        read(path)
    return str(raised.value).removeprefix(str(path))


@pytest.mark.parametrize(("text", "lines"), [(CSV, (2, 4)), (LINES, (1, 3))])
def test_both_formats_are_read_alike(text: str, lines: tuple[int, int], tmp_path: Path) -> None:
    clients, vips = (bytes((203, 0, 113, last)) for last in (7, 8)), [9, 1]
    expected = [
        Arrival(at_s, ends_s, Flow(client, 1024 + line, bytes((192, 0, 2, vip)), 80))
        for at_s, ends_s, client, vip, line in zip(
            (0.0, 0.25), (1.5, 0.75), clients, vips, lines, strict=True
        )
    ]
    assert read(written(tmp_path, text)) == expected


def test_a_spreadsheets_csv_with_a_byte_order_mark_and_its_line_ends_is_read(
    tmp_path: Path,
) -> None:
    plain = read(written(tmp_path, CSV))
    (tmp_path / "trace").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    assert read(tmp_path / "trace") == plain


def test_a_file_without_line_ends_is_not_read_to_its_end() -> None:
    assert complaint(Path("/dev/zero")).startswith(":1: neither JSON lines nor a CSV header")


def test_a_trace_may_be_of_ipv6(tmp_path: Path) -> None:
    (arrival,) = read(written(tmp_path, HEAD + "1,2,2001:db8::7\n"))
    assert (len(arrival.flow.source), len(arrival.flow.destination)) == (16, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": no connection in the trace"),
        (HEAD, ": no connection in the trace"),
        ("garbage\n", ":1: neither JSON lines nor a CSV header with arrival_s, lifetime_s, client"),
        (HEAD + "1,2\n", ":2: 2 columns where the header has 3; is the line cut off?"),
        (HEAD + '1,2,"203.0', ":2: no CSV: unexpected end of data; is the line cut off?"),
        (HEAD + "soon,2,203.0.113.1\n", ":2: arrival_s: 'soon' is no number of seconds"),
        (HEAD + "1,-2,203.0.113.1\n", ":2: lifetime_s: '-2' is no number of seconds"),
        (HEAD + "1,nan,203.0.113.1\n", ":2: lifetime_s: 'nan' is no number of seconds"),
        (HEAD + "1,1e999,203.0.113.1\n", ":2: lifetime_s: '1e999' is no number of seconds"),
        (
            HEAD + "1.7e9,2,203.0.113.1\n",
            ":2: arrival_s: 1.7e9 s is more than 10,000,000; arrivals count from the beginning",
        ),
        (HEAD + "1,2,203.0.113\n", ":2: client: '203.0.113' is no IP address"),
        (HEAD + "2,2,203.0.113.1\n1,2,203.0.113.1\n", ":3: arrival_s: 1 is before 2"),
        (HEAD + "1,2,203.0.113.1\n2,2,2001:db8::1\n", ":3: client: IPv4 and IPv6 in one trace"),
        ('{"arrival_s": 1, "lifet', ":1: no JSON object on this line: Unterminated string"),
        ('{"arrival_s": 1}\n', ":1: lifetime_s: missing, or no number"),
        ('{"arrival_s": true, "lifetime_s": 1}\n', ":1: arrival_s: missing, or no number"),
        ('{"arrival_s": 1, "lifetime_s": 1, "client": 7}\n', ":1: client: missing, or no text"),
        (LINES + "[1]\n", ":4: no JSON object with arrival_s"),
        (
            '{"arrival_s": 1, "lifetime_s": 1, "client": "::1", "destination": "192.0.2.1"}\n',
            ":1: destination: IPv4 where the client is IPv6",
        ),
    ],
)
def test_a_wrong_line_is_named(text: str, said: str, tmp_path: Path) -> None:
    assert complaint(written(tmp_path, text)).startswith(said)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert complaint(path) == ": the trace is no UTF-8 text: invalid start byte"


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "no") == ": cannot be read: No such file or directory"
    assert complaint(tmp_path) == ": cannot be read: Is a directory"
