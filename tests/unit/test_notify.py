"""sd_notify over a real datagram socket, and the watchdog's interval."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd import notify
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Yield the service manager's end, not yet bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5 * PATIENCE)
        yield receiver


def test_messages_arrive_in_one_datagram(manager: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager.bind(path)
    messages = notify.READY, notify.status("2 services\nready")
    assert notify.notify(*messages, environ={"NOTIFY_SOCKET": path})
    assert manager.recv(4096) == b"READY=1\nSTATUS=2 services ready"


def test_a_socket_in_the_abstract_namespace_is_reached(manager: socket.socket) -> None:
    name = f"lvsd-test-{os.getpid()}"
    manager.bind(f"\0{name}")
    assert notify.notify(notify.WATCHDOG, environ={"NOTIFY_SOCKET": f"@{name}"})
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("value", [None, "", "relative", "vsock:2:1234", "/nonexistent/notify"])
def test_without_a_service_manager_nothing_is_sent_and_nothing_raised(value: str | None) -> None:
    environ = {} if value is None else {"NOTIFY_SOCKET": value}
    assert notify.notify(notify.STOPPING, environ=environ) is False


def test_a_service_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify")
    manager.bind(path)
    environ = {"NOTIFY_SOCKET": path}
    sent = [notify.notify(notify.WATCHDOG, environ=environ) for _ in range(5000)]
    assert (sent[0], sent[-1]) == (True, False)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_the_watchdogs_interval_is_in_seconds_and_for_this_process(
    environ: dict[str, str], expected: float | None
) -> None:
    assert notify.watchdog_s(environ) == expected
