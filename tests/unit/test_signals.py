"""Signals while a lab is built, used and removed."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from lvsd.signals import ENDING, StoppedError, StopRequest, Terminated, deferred, unwinding

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Handle signals as by default: who runs the tests may have them ignored, such as nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ending_signal_unwinds_the_stack(number: signal.Signals) -> None:
    with pytest.raises(Terminated, match=number.name) as caught, unwinding():
        signal.raise_signal(number)

    assert caught.value.exit_status == 128 + number


def test_the_default_handling_comes_back_afterwards() -> None:
    with unwinding():
        pass

    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_somebody_elses_handler_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with unwinding():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert seen == [signal.SIGTERM]


def test_a_deferred_signal_arrives_once_when_the_work_is_done() -> None:
    done = []

    def work() -> None:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("work")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["work"]


def test_without_a_signal_deferring_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)

    with deferred():
        pass

    assert signal.getsignal(signal.SIGINT) == before


def test_blocks_that_overlap_put_the_handlers_back_when_the_last_has_ended() -> None:
    first, second = unwinding(), unwinding()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    during = signal.getsignal(signal.SIGTERM)
    second.__exit__(None, None, None)
    assert during != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_noted_and_raised_where_the_work_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.check()
        signal.raise_signal(number)
        assert stop.is_made
        with pytest.raises(StoppedError):
            stop.check()
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_came_before_the_release_does_then_what_it_did_before(
    number: signal.Signals,
) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert heard == []
            stop.release()
            assert heard == [number]
            signal.raise_signal(number)
        assert heard == [number, number]
    finally:
        signal.signal(number, before)


def test_a_request_to_stop_that_does_not_come_is_not_waited_for_for_ever() -> None:
    with StopRequest() as stop:
        assert not asyncio.run(stop.comes(0.01))
        signal.raise_signal(signal.SIGTERM)
        assert asyncio.run(stop.comes(0.0))
