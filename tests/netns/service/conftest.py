"""A systemd for all tests of units, and how it was before each of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.netns.service.manager import booted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.service.manager import Manager


@pytest.fixture(scope="session")
def machine() -> Iterator[Manager]:
    """Boot a machine that systemd runs."""
    if shutil.which("systemctl") is None:
        pytest.skip("systemd is not there; install the package systemd")
    with booted() as manager:
        yield manager


@pytest.fixture
def systemd(machine: Manager) -> Iterator[Manager]:
    """Return the machine with no unit of ours started, and nothing said yet."""
    machine.forget()
    try:
        yield machine
    finally:
        for unit in ("lvsd", "lvsd-realserver", "lvsd-realserver-toa"):
            machine.systemctl("stop", unit)
            machine.systemctl("reset-failed", unit)
        machine.run("sh", "-c", "ls /run/lvsd/journal-* && lvsd cleanup")
