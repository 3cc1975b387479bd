"""What takes long is done in the background: once more for what was asked for meanwhile."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.running.complaints import Complaints
from lvsd.supervisor.errand import Errand

COMPLAINT = "cannot do it"


async def turns(number: int = 20) -> None:
    """Let everything else have its turns."""
    for _ in range(number):
        await asyncio.sleep(0.001)


def test_what_is_asked_for_meanwhile_is_done_once_afterwards() -> None:
    begun: list[int] = []

    async def scenario() -> None:
        free = asyncio.Event()

        async def what() -> None:
            begun.append(1)
            await free.wait()

        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT)
        for _ in range(5):
            errand.soon()
            await asyncio.sleep(0)
        assert len(begun) == 1
        free.set()
        await turns()
        errand.stop()

    asyncio.run(scenario())
    assert len(begun) == 2


def test_a_failure_is_told_and_its_end_too() -> None:
    fails = [True]

    async def what() -> None:
        if fails:
            raise KernelError("look", "busy", "try again")

    async def scenario() -> None:
        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT)
        errand.soon()
        await turns()
        fails.clear()
        errand.soon()
        await turns()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [line["event"] for line in logs] == [COMPLAINT, "a fault is over"]


def test_nothing_is_done_any_more_once_it_is_stopped() -> None:
    begun: list[int] = []

    async def what() -> None:
        begun.append(1)
        await asyncio.sleep(3600)

    async def scenario() -> None:
        errand = Errand(what, Complaints(lambda: 0.0), COMPLAINT)
        errand.stop()
        errand.soon()
        errand.soon()
        await turns()
        errand.stop()
        await turns()

    asyncio.run(scenario())
    assert len(begun) == 1
