"""Schedulers of third parties: whatever is wrong with one is its author's, and said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import schedulers
from lvsd.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schedulers.base import Scheduler


def scheduler_class(name: str) -> type[Scheduler]:
    """Return the class of a scheduler that is registered under this name.

    Raise PluginError when its package is broken.
    """
    try:
        return schedulers.load(name)
    except schedulers.BrokenSchedulerError as error:
        raise PluginError(str(error)) from error


def make_scheduler(name: str, flags: Iterable[str] = ()) -> Scheduler:
    """Return a new scheduler of this name with these flags, for one service.

    Raise PluginError when it cannot be loaded, or fails at being made.
    """
    try:
        return scheduler_class(name)(frozenset(flags))
    except PluginError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(
            f"scheduler {name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
