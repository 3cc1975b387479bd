"""The thread that blocks in the supervisor's place: there is one."""

from __future__ import annotations

from asyncio import to_thread
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lvsd.errors import KernelError

if TYPE_CHECKING:
    import asyncio


async def ready(loop: asyncio.AbstractEventLoop) -> None:
    """Have the one thread started that blocks in our place: at the end there may be no room for it.

    Raise KernelError.
    """
    loop.set_default_executor(ThreadPoolExecutor(1, "lvsd"))
    try:
        await to_thread(int)
    except RuntimeError as error:
        remedy = "see the limit of processes (`ulimit -u`, TasksMax=)"
        raise KernelError("start a thread", str(error), remedy) from error
