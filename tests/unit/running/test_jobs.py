"""A job that fails keeps no other from running."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.running.complaints import Complaints
from lvsd.running.jobs import Job, Jobs


def clock() -> float:
    return 1000.0


def fail(_now: float) -> NoReturn:
    raise KernelError("read a statistic", OSError(24, "Too many open files"), "try again")


def jobs(*each: Job) -> Jobs:
    return Jobs(each, Complaints(clock), clock)


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "x"), KeyError("x"), ValueError()])
def test_a_job_that_raises_stops_neither_the_others_nor_the_daemon(error: Exception) -> None:
    enough = asyncio.Event()
    done: list[float] = []

    def count(now: float) -> None:
        done.append(now)
        if len(done) == 3:
            enough.set()

    def raising(_now: float) -> NoReturn:
        raise error

    async def some_turns() -> None:
        run = jobs(Job("a", raising, 0.0), Job("b", count, 0.0)).run(0)
        running = asyncio.create_task(run)
        await enough.wait()
        running.cancel()

    with capture_logs() as logs:
        asyncio.run(some_turns())
    assert [line["event"] for line in logs] == ["a"]


def test_where_a_job_fails_its_other_way_is_gone() -> None:
    beats: list[float] = []
    job = Job("cannot read the statistics", fail, instead=beats.append)
    assert jobs().attempt(job) is None
    assert beats == [clock()]


def test_a_job_may_end_the_daemon_after_as_many_failures_as_it_endures() -> None:
    job = Job("the timers failed", fail, endures=3)
    run = jobs()
    for _ in range(2):
        run.attempt(job)
    with pytest.raises(KernelError):
        run.attempt(job)


def test_only_failures_in_a_row_count() -> None:
    works = True

    def sometimes(now: float) -> None:
        nonlocal works
        works = not works
        if not works:
            fail(now)

    job = Job("the timers failed", sometimes, endures=2)
    run = jobs()
    for _ in range(10):
        run.attempt(job)
    assert job.failures == 0


def test_a_job_is_due_again_after_its_time_also_when_it_failed() -> None:
    job = Job("cannot look up routes", fail, 600.0)
    jobs().attempt(job)
    assert job.due == clock() + 600.0
