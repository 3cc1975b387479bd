"""Every step of the undo runs, with room to run in."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.supervisor.unwinding import DESCRIPTORS, Reserve, Unwinding

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def unwind(done: list[str], error: Exception | None = None) -> None:
    def fail() -> None:
        done.append("raises")
        raise MemoryError

    async def wait() -> None:
        await asyncio.sleep(0)
        done.append("waits")

    async with Unwinding(Reserve(), Path("/run/a b/lvsd.sock")) as undo:
        undo.then("let the journal go", lambda: done.append("last"))
        undo.then("hang up", wait)
        undo.then("take the table down", fail)
        undo.then("take the address off", lambda: done.append("first"))
        if error is not None:
            raise error


def test_a_step_that_raises_keeps_none_from_running_and_is_named() -> None:
    done: list[str] = []
    with pytest.raises(KernelError, match="it could not take the table down; ") as failed:
        asyncio.run(unwind(done))
    assert failed.value.remedy == "run `lvsd cleanup --control '/run/a b/lvsd.sock'`"
    assert done == ["first", "raises", "waits", "last"]


def test_the_error_that_began_it_is_the_one_that_is_told() -> None:
    done: list[str] = []
    with pytest.raises(ValueError, match="the start failed"):
        asyncio.run(unwind(done, ValueError("the start failed")))
    assert done == ["first", "raises", "waits", "last"]


def test_the_reserve_leaves_descriptors_when_there_are_no_others(limits: None) -> None:
    del limits
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = Reserve()
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    with pytest.raises(OSError, match="Too many open files"):
        os.dup(0)
    reserve.release()
    taken = [os.dup(0) for _ in range(DESCRIPTORS)]
    for each in taken:
        os.close(each)
    reserve.release()
