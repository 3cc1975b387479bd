"""A queue whose packets the test can look at."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from lvsd.core.verdict import Verdict
from lvsd.io.nfqueue import QueueSource
from tests.netns.io.hosts import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.hosts import Row


class Queue:
    """NFQUEUE 7, read only when the test says so; remembers what came."""

    number = 7

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.hooks: list[int] = []
        self.marks: list[int] = []
        self.source = QueueSource(self.number, self._handle, clock=lambda: 0.0)

    def _handle(self, data: bytes, hook: int, mark: int, _indev: int, _now: float) -> Verdict:
        self.packets.append(data)
        self.hooks.append(hook)
        self.marks.append(mark)
        return Verdict.PASS

    def wait(self, packets: int = 1) -> None:
        """Read until so many packets have come in all; fail when they do not come."""
        assert self.source._socket is not None
        while len(self.packets) < packets:
            ready, _, _ = select.select([self.source._socket], [], [], PATIENCE_S)
            assert ready, f"{len(self.packets)} packets came, not {packets}"
            self.source.turn()


@pytest.fixture
def queue(row: Row) -> Iterator[Queue]:
    """Open the queue in the director."""
    del row
    queue = Queue()
    queue.source.open()
    try:
        yield queue
    finally:
        queue.source.close()
