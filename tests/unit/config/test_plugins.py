"""A third party's broken scheduler is an error of its own kind, with its own exit status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

import schedulers
from lvsd.config.plugins import make_scheduler, scheduler_class
from lvsd.errors import PluginError
from schedulers.rr import RoundRobin
from schedulers.sh import SourceHashing

if TYPE_CHECKING:
    from schedulers.base import Scheduler


class Unmakeable(RoundRobin):
    """A scheduler whose author has made a mistake."""

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        raise ZeroDivisionError("no luck")


def test_a_scheduler_is_made_with_its_flags() -> None:
    scheduler = make_scheduler("sh", ["sh-port"])
    assert isinstance(scheduler, SourceHashing)
    assert scheduler.flags == {"sh-port"}


def test_a_package_that_cannot_be_loaded_is_its_authors_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name: str) -> NoReturn:
        raise schedulers.BrokenSchedulerError(f"scheduler {name!r} of x 1 cannot be imported")

    monkeypatch.setattr(schedulers, "load", load)
    for loading in (scheduler_class, make_scheduler):
        with pytest.raises(PluginError, match=r"^scheduler 'mine' of x 1 cannot be") as caught:
            loading("mine")
        assert caught.value.exit_status == os.EX_SOFTWARE


def test_a_scheduler_that_fails_at_being_made_is_its_authors_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(_: str) -> type[Scheduler]:
        return Unmakeable

    monkeypatch.setattr(schedulers, "load", load)
    with pytest.raises(
        PluginError, match=r"^scheduler 'mine' cannot be made: ZeroDivisionError: no luck$"
    ):
        make_scheduler("mine")
