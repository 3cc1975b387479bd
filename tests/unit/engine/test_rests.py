"""What went makes for no look at everything a second: after one there is a rest."""

from __future__ import annotations

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from lvsd.config.plugins import make_scheduler
from lvsd.core.commands import AddService, RemoveService
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.core.values import ServiceConfig, ServiceKey
from lvsd.engine.messages import Begin, Commands, Divert, Settle
from lvsd.engine.state import RESTS
from lvsd.engine.work import Work
from lvsd.running.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from lvsd.core.commands import Command
    from lvsd.engine.wire import Wire

WEB = ServiceKey(6, bytes((192, 0, 2, 1)), 80)


class Sent:
    """The end of a wire that keeps what it is to send."""

    def __init__(self) -> None:
        self.messages: list[object] = []
        self.slice_s = lambda: 0.0

    def send(self, message: object) -> None:
        """Keep a message."""
        self.messages.append(message)

    def gone(self) -> set[object]:
        """Return what is told to be diverted no longer."""
        told = [each for each in self.messages if isinstance(each, Divert)]
        return {element for each in told for element in each.less}


def _do(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def test_after_a_look_at_everything_what_went_waits_for_ten_times_as_long_as_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, numbers = Sent(), count(1)
    clock = 100.0

    def monotonic() -> float:
        nonlocal clock
        clock += 1.0
        return clock

    def change(*commands: Command) -> None:
        _do(work.applying(Commands(next(numbers), commands, is_last=True)))

    async def scenario() -> None:
        change(AddService(ServiceConfig(WEB, "rr")))
        work.do(Settle())
        await work._settling.done()
        work.is_started = True
        rested_at = clock + RESTS * 1.0  # by the clock of this test a look takes a second
        change(RemoveService(WEB))
        for now, gone in ((rested_at - 0.1, set()), (rested_at, {(WEB.vip, 6, 80), WEB.vip})):
            work._look(now)
            await work._settling.done()
            assert sent.gone() == gone

    monkeypatch.setattr("lvsd.engine.work.time", SimpleNamespace(monotonic=monotonic))
    begin = Begin(0, 4096, Settings(), NEW, (), 0.0, 1.0)
    complaints = Complaints(lambda: 0.0)
    work = Work(begin, make_scheduler, cast("Wire", sent), complaints, lambda _: None)
    asyncio.run(scenario())
