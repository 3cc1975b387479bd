"""An engine logs from the level on that the supervisor says, and from another one when told."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest

from lvsd.config.plugins import make_scheduler
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.engine import engine
from lvsd.engine.engine import Engine
from lvsd.engine.messages import Begin, LogLevel


class BegunError(BaseException):
    """The engine begins to work."""


def test_it_does_so_before_it_begins_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> NoReturn:
        raise BegunError

    told: list[str] = []
    monkeypatch.setattr(engine, "set_level", told.append)
    monkeypatch.setattr(engine, "Work", work)
    ours, its = socket.socketpair()
    with ours, its:
        one = Engine(its, make_scheduler)
        list(one._receive(LogLevel("error")))
        begin = Begin(0, 4096, Settings(), NEW, (), 0.0, 1.0, log_level="debug")
        with pytest.raises(BegunError):
            list(one._receive(begin))
    assert told == ["error", "debug"]
