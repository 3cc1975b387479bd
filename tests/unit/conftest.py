"""What holds for all unit tests."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.quick_start import quick_starts

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _quick_starts() -> Iterator[None]:
    """Start lvsd without loading it each time."""
    with quick_starts(at_once=False):
        yield


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let the file system be full while the list says so, which it does not at first."""
    found, allocate = [False], os.posix_fallocate

    def fallocate(descriptor: int, offset: int, length: int) -> None:
        if found[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    return found
