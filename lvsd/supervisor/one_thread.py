"""The thread that blocks in the supervisor's place: there is one."""

from __future__ import annotations

from asyncio import to_thread
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec

from lvsd.errors import KernelError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

P = ParamSpec("P")


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


async def run(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do some work in that thread; here, where there is none and none can be started."""
    try:
        await to_thread(int)
    except RuntimeError:
        work(*args, **kwargs)
    else:
        await to_thread(work, *args, **kwargs)
