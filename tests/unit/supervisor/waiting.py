"""Wait for what processes bring about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 20.0 * PATIENCE


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - whatever may come to hold
            await asyncio.sleep(0.005)
