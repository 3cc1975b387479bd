"""How long the doctor waits for those who had better not answer."""

from __future__ import annotations

import pytest

from lvsd.doctor.wire import QUIET, REPEAT, SLOWER, Times

PATIENCE_S = 2.0


@pytest.mark.parametrize(
    ("slowest_s", "left_s"),
    [(0.001, QUIET * PATIENCE_S), (0.05, SLOWER * 0.05)],
    ids=["at once", "slowly"],
)
def test_silence_counts_once_it_lasts_far_longer_than_the_slowest_answer(
    slowest_s: float, left_s: float
) -> None:
    times = Times(100.0, PATIENCE_S)

    times.hasten(100.0 + slowest_s)

    assert times.end == pytest.approx(100.0 + slowest_s + left_s)
    assert times.again == pytest.approx(100.0 + slowest_s + left_s / 2)


def test_an_answer_that_took_long_makes_nobody_wait_longer_than_asked_for() -> None:
    times = Times(100.0, PATIENCE_S)

    times.hasten(100.0 + 0.9 * PATIENCE_S)

    assert times.again == 100.0 + REPEAT * PATIENCE_S
    assert times.end == 100.0 + PATIENCE_S


def test_only_the_first_time_counts() -> None:
    times = Times(100.0, PATIENCE_S)
    times.hasten(100.1)
    end = times.end

    times.hasten(100.2)

    assert times.end == end
