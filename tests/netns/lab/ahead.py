"""Labs that mostly wait, for time to run out or packets to come, side by side on all processors."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Key = TypeVar("Key")
Result = TypeVar("Result")


@contextlib.contextmanager
def ahead(
    work: Callable[[Key], Result], keys: Iterable[Key]
) -> Iterator[list[tuple[Key, Future[Result]]]]:
    """Start ``work`` for the keys in their order, as many at a time as there are processors.

    ``Future.result`` waits for one, and raises what it raised. What has not begun at the end of
    the block is left undone. A thread may sit in a namespace of its own, so labs do not meet.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            yield [(key, pool.submit(work, key)) for key in keys]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def wanted(request: pytest.FixtureRequest, parameter: str) -> list[object]:
    """Return this parameter's values of the module's tests that are to be run, each once."""
    values: list[object] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path:
            value = item.callspec.params.get(parameter) if hasattr(item, "callspec") else None
            values += [value] if value is not None and value not in values else []
    return values
