"""Arrivals from a file: CSV with a header, or JSON lines.

CSV::

    arrival_s,lifetime_s,client,destination
    0.00,1.5,203.0.113.7,192.0.2.1
    0.25,0.8,203.0.113.9,192.0.2.1

JSON lines, one object a line with the same keys::

    {"arrival_s": 0.0, "lifetime_s": 1.5, "client": "203.0.113.7"}

Times are seconds, arrivals from the beginning of the trace on and in order; addresses are IPv4 or
IPv6, all of one kind. Without a destination, an empty one in CSV or no such column, it is
`DESTINATION`. In CSV the columns may be in any order; other columns and keys are passed over, empty
lines too.
"""

from __future__ import annotations

import csv
import ipaddress
import json
import math
from typing import TYPE_CHECKING, Any, Final

from lvsd.bench.workloads import FIRST_PORT, PORT, PORTS, Arrival
from lvsd.errors import DataError, InputError
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

NEEDED: Final = ("arrival_s", "lifetime_s", "client")
DESTINATION: Final = {4: "192.0.2.1", 6: "2001:db8:f::1"}
MOST: Final = 1_000_000
LONGEST_LINE: Final = 65_536
"""A longer one is cut, and so wrong."""
LONGEST_S: Final = 1e7
"""A third of a year; times of the day or since 1970 are no times of a trace."""


def read(path: Path) -> list[Arrival]:
    """Return the arrivals of a trace.

    Raise DataError with file and line of what is wrong, InputError for a file that is not there.
    """
    try:
        with path.open(
            encoding="utf-8-sig", newline=""
        ) as file:  # Windows' programs begin with a BOM
            found = list(_arrivals(str(path), iter(lambda: file.readline(LONGEST_LINE), "")))
    except OSError as error:
        raise InputError(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the trace is no UTF-8 text: {error.reason}") from error
    if not found:
        raise DataError(f"{path}: no connection in the trace")
    return found


def _arrivals(path: str, lines: Iterable[str]) -> Iterator[Arrival]:
    last_s, version = 0.0, 0
    for number, row in _rows(path, lines):
        try:
            arrival = _arrival(row, number)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if arrival.at_s < last_s:
            raise DataError(
                f"{path}:{number}: arrival_s: {arrival.at_s:g} is before {last_s:g} of the line"
                " above; sort the trace by it"
            )
        family = len(arrival.flow.source)
        if version and family != version:
            raise DataError(f"{path}:{number}: client: IPv4 and IPv6 in one trace; make it two")
        last_s, version = arrival.at_s, family
        yield arrival


def _rows(path: str, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows with the numbers of their lines."""
    header: list[str] = []
    count = 0
    is_json = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not count and not header:
            is_json = line.lstrip().startswith("{")
        count += 1
        if count > MOST + 1:
            raise DataError(f"{path}:{number}: more than {MOST:,} connections; take a part of it")
        if is_json:
            yield number, _object(path, number, line)
        elif not header:
            header = _header(path, number, line)
        else:
            cells = _cells(path, number, line)
            if len(cells) != len(header):
                raise DataError(
                    f"{path}:{number}: {len(cells)} columns where the header has {len(header)};"
                    " is the line cut off?"
                )
            yield number, dict(zip(header, cells, strict=True))


def _header(path: str, number: int, line: str) -> list[str]:
    header = _cells(path, number, line)
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise DataError(
            f"{path}:{number}: neither JSON lines nor a CSV header with"
            f" {', '.join(NEEDED)}: {', '.join(missing)} missing"
        )
    return header


def _cells(path: str, number: int, line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        raise DataError(f"{path}:{number}: no CSV: {error}; is the line cut off?") from error


def _object(path: str, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}:{number}: no JSON object on this line: {error}; is it cut off?"
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: no JSON object with {', '.join(NEEDED)}")
    return row


def _arrival(row: Mapping[str, Any], serial: int) -> Arrival:
    """Return a row's arrival. Raise ValueError, with the key, for what is wrong."""
    at_s, lifetime_s = _seconds(row, "arrival_s"), _seconds(row, "lifetime_s")
    client = _address(row, "client")
    target = row.get("destination") or DESTINATION[client.version]
    destination = _address({"destination": target}, "destination")
    if destination.version != client.version:
        raise ValueError("destination: IPv4 where the client is IPv6, or the other way round")
    port = FIRST_PORT + serial % PORTS
    return Arrival(at_s, at_s + lifetime_s, Flow(client.packed, port, destination.packed, PORT))


def _seconds(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{key}: missing, or no number")
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{key}: {str(value)[:40]!r} is no number of seconds, 0 or more")
    if seconds > LONGEST_S:
        raise ValueError(
            f"{key}: {str(value)[:40]} s is more than {LONGEST_S:,.0f}; arrivals count from the"
            " beginning of the trace"
        )
    return seconds


def _address(row: Mapping[str, Any], key: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: missing, or no text")
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{key}: {value[:40]!r} is no IP address") from None
