"""Which schedulers to measure: built-in, installed, or any class by ``package.module:Class``.

Whatever a third party's scheduler does wrong is told as its author's, with the class and the
method: see `blame` and `rehearse`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import schedulers
from lvsd.bench.farm import Farm
from lvsd.bench.workloads import flow_of
from lvsd.errors import PluginError, UsageError
from schedulers.base import Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ALL: Final = "all"
REHEARSED: Final = (3, 1, 2)
"""Weights of the servers in `rehearse`."""
OTHER_WEIGHT: Final = 5
NAME: Final = re.compile(r"[\w.-]{1,60}")
"""What fits a table, a page and a plot; a class whose name is another is called by the class's."""
LONGEST_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scheduler to measure: as typed, its name in tables, and its class."""

    typed: str
    name: str
    made_by: type[Scheduler]

    @property
    def is_built_in(self) -> bool:
        """Whether it is lvsd's own: what goes wrong in it is no third party's fault."""
        return self.typed in schedulers.BUILT_IN

    def make(self) -> Scheduler:
        """Return a new scheduler. Raise PluginError when it cannot be made."""
        try:
            return self.made_by()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self.is_built_in:
                raise
            raise PluginError(f"scheduler {self.typed} cannot be made: {_words(error)}") from error


def chosen(text: str) -> list[Candidate]:
    """Return what ``all`` or ``wlc,rr,package.module:Class`` names, each once.

    Raise UsageError for what there is not, PluginError for what is no scheduler.
    """
    words = list(schedulers.BUILT_IN) if text == ALL else text.split(",")
    candidates = [_candidate(word.strip()) for word in dict.fromkeys(words)]
    names = [candidate.name for candidate in candidates]
    return [
        replace(candidate, name=candidate.typed) if names.count(candidate.name) > 1 else candidate
        for candidate in candidates
    ]


def _candidate(word: str) -> Candidate:
    if word in schedulers.BUILT_IN:
        return Candidate(word, word, schedulers.BUILT_IN[word])
    if ":" in word:
        candidate = _by_path(word)
    else:
        try:
            candidate = Candidate(word, word, schedulers.load(word))
        except schedulers.UnknownSchedulerError as error:
            raise UsageError(
                f"--scheduler: {error}; any other as package.module:Class, or all"
            ) from error
        except schedulers.BrokenSchedulerError as error:
            raise PluginError(str(error)) from error
    rehearse(candidate)
    return candidate


def _by_path(word: str) -> Candidate:
    """Import a class, also from the current directory."""
    module_name, _, class_name = word.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        raise UsageError(f"--scheduler {word}: not of the form package.module:Class")
    module = _imported(word, module_name)
    made_by = getattr(module, class_name, None)
    if made_by is None:
        raise UsageError(f"--scheduler {word}: {module_name} has no {class_name}")
    if not (isinstance(made_by, type) and issubclass(made_by, Scheduler)):
        raise PluginError(
            f"scheduler {word}: {class_name} is no subclass of schedulers.base.Scheduler"
        )
    if inspect.isabstract(made_by):
        missing = ", ".join(sorted(made_by.__abstractmethods__))
        raise PluginError(f"scheduler {word}: {class_name} does not define {missing}")
    name = getattr(made_by, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in schedulers.BUILT_IN:
        name = class_name
    return Candidate(word, name, made_by)


def _imported(word: str, name: str) -> ModuleType:
    try:
        here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    except OSError as error:
        raise UsageError(f"--scheduler {word}: the current directory is gone") from error
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise UsageError(
                f"--scheduler {word}: no module {missing}, neither installed nor in {here}"
            ) from error
        raise PluginError(f"scheduler {word} cannot be imported: {_words(error)}") from error


def rehearse(candidate: Candidate) -> None:
    """Play a short life of a service to a scheduler. Raise PluginError when it fails in it."""
    scheduler = candidate.make()
    with blame(candidate):
        farm = Farm(scheduler, REHEARSED)
        counts = [0] * len(REHEARSED)
        for serial in range(60):
            now = serial / 4
            place = farm.connect(flow_of(serial % 7, serial, serial % 5), now)
            if place is not None and serial % 3 == 0:
                server = farm.servers[place]
                farm.end(server)
                farm.close(server)
            elif place is not None:
                counts[place] += 1
            if serial % 4 == 0:
                farm.scheduler.tick(now)
            if serial == 20:
                farm.remove(1)
            if serial == 30:
                farm.restore(1)
                counts[1] = 0
            if serial == 40:
                farm.servers[2].set_weight(OTHER_WEIGHT)
                farm.scheduler.edit(farm.servers[2])
        weights = (*REHEARSED[:2], OTHER_WEIGHT)
        for server, count, weight in zip(farm.servers, counts, weights, strict=True):
            if (server.active, server.total, server.weight) != (count, count, weight):
                raise PluginError("it changes servers' weights or counts, which it may only read")


@contextmanager
def blame(candidate: Candidate) -> Iterator[None]:
    """Turn what a third party's scheduler raises into PluginError, with the method's name.

    That is also `sys.exit`, and what comes of a method that takes other arguments. Ctrl-C passes,
    and what goes wrong with a built-in one.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except PluginError as error:
        raise PluginError(f"scheduler {candidate.typed}: {error}") from error
    except BaseException as error:
        if candidate.is_built_in:
            raise
        method = _method(error, candidate.made_by) or "a call"
        raise PluginError(
            f"scheduler {candidate.typed}: {method} raised {_words(error)}"
        ) from error


def _method(error: BaseException, made_by: type[Scheduler]) -> str | None:
    """Return the first method of the class that the error came through."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        own = trace.tb_frame.f_locals.get(code.co_varnames[0]) if code.co_varnames else None
        if isinstance(own, made_by):
            return code.co_name
        trace = trace.tb_next
    return None


def _words(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return printable if len(text) <= LONGEST_WORDS else f"{printable[:LONGEST_WORDS]}..."
