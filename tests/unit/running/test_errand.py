"""What takes long is done in the background: once more for what was asked for meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.running.complaints import Complaints
from lvsd.running.errand import Errand

COMPLAINT = "cannot do it"
RESTING = pytest.mark.parametrize("rests", [False, True])


async def turns(number: int = 20) -> None:
    """Let everything else have its turns."""
    for _ in range(number):
        await asyncio.sleep(0.001)


@RESTING
def test_what_is_asked_for_meanwhile_is_done_once_afterwards(rests: bool) -> None:  # noqa: FBT001 - a parameter of the test
    begun: list[int] = []

    async def scenario() -> None:
        free = asyncio.Event()

        async def what() -> None:
            begun.append(1)
            await free.wait()

        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT, rests=rests)
        for _ in range(5):
            errand.soon()
            await asyncio.sleep(0)
        assert len(begun) == 1
        free.set()
        await turns()
        errand.stop()

    asyncio.run(scenario())
    assert len(begun) == 2


@RESTING
def test_a_failure_is_told_and_its_end_too(rests: bool) -> None:  # noqa: FBT001 - a parameter of the test
    fails = [True]

    async def what() -> None:
        if fails:
            raise KernelError("look", "busy", "try again")

    async def scenario() -> None:
        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT, rests=rests)
        errand.soon()
        await turns()
        fails.clear()
        errand.soon()
        await turns()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [line["event"] for line in logs] == [COMPLAINT, "a fault is over"]


@RESTING
def test_it_is_done_again_if_it_failed_and_only_then(rests: bool) -> None:  # noqa: FBT001 - a parameter of the test
    outcomes = iter(["good", "bad", "bad", "good"])

    async def what() -> None:
        if next(outcomes) == "bad":
            raise KernelError("look", "busy", "try again")

    async def scenario() -> None:
        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT, rests=rests)
        errand.again()
        assert not errand.busy
        errand.soon()
        await errand.done()
        errand.again()
        assert not errand.busy
        errand.soon()
        for _ in range(3):
            await errand.done()
            errand.again()
        assert not errand.busy

    asyncio.run(scenario())
    assert list(outcomes) == []


@RESTING
def test_nothing_is_done_any_more_once_it_is_stopped(rests: bool) -> None:  # noqa: FBT001 - a parameter of the test
    begun: list[int] = []

    async def what() -> None:
        begun.append(1)
        await asyncio.sleep(3600)

    async def scenario() -> None:
        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT, rests=rests)
        errand.stop()
        errand.soon()
        errand.soon()
        await turns()
        errand.stop()
        await turns()

    asyncio.run(scenario())
    assert len(begun) == 1
