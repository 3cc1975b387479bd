"""The heartbeat stops when packets wait and none is taken, and of nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lvsd.engine.heartbeat import Heartbeat
from lvsd.errors import KernelError
from lvsd.running.complaints import Complaints
from lvsd.running.jobs import Job, Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence


class Queue:
    """A queue that tells what it is told to, or nothing."""

    def __init__(self) -> None:
        self.stats = SimpleNamespace(received=0, waiting=0)
        self.is_mute = False

    def ask_kernel(self) -> None:
        """Stand for the kernel."""
        if self.is_mute:
            raise KernelError("read it", OSError(24, "Too many open files"), "try again")


@pytest.mark.parametrize(
    ("seen", "beats"),
    [
        ([(0, 0), (0, 0)], 2),
        ([(5, 3), (9, 3)], 2),
        ([(5, 3), (5, 3)], 1),
        ([(5, 3), (5, 3), (5, 0)], 2),
    ],
)
def test_a_beat_is_given_while_packets_are_taken_or_none_waits(
    seen: Sequence[tuple[int, int]], beats: int
) -> None:
    queue, given = Queue(), []
    heart = Heartbeat(queue, lambda: given.append(1))  # type: ignore[arg-type]
    for received, waiting in seen:
        queue.stats = SimpleNamespace(received=received, waiting=waiting)
        heart.look(0.0)
    assert len(given) == beats


def test_a_queue_that_tells_nothing_does_not_starve_it() -> None:
    queue, given = Queue(), []
    heart = Heartbeat(queue, lambda: given.append(1))  # type: ignore[arg-type]
    queue.is_mute = True
    job = Job("cannot read the statistics", heart.look, 0.0, heart.beat)
    Jobs([job], Complaints(lambda: 0.0), lambda: 0.0).attempt(job)
    assert len(given) == 1
