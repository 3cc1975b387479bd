"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator

# Other programs, and other tests, may leave us a fraction of a processor. A longer deadline for
# what must come costs nothing where it comes at once. Set before lvsd.lab.wait is imported.
os.environ.setdefault("LVSD_TEST_PATIENCE", "3")

# Thousands of programs that the tests start load lvsd's modules: compiling them anew each time, as
# Python then does, would be a third of the processor's time of each start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A job that a shell runs in the background ignores Ctrl-C, and one under nohup the hang-up; so do
# all that they start, but the tests need signals as they are in a terminal. A handler of ours
# ignores them just as well, and is not inherited by programs.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())

# How often Hypothesis tries each property: see tests/property/examples.py. The examples are the
# same in each run, but for "random", which finds others each time. Nothing has a deadline, because
# other programs may take the processor. `--hypothesis-profile=thorough` chooses another.
settings.register_profile(
    "everyday", deadline=None, derandomize=True, database=None, max_examples=25
)
settings.register_profile("quick", settings.get_profile("everyday"), max_examples=10)
settings.register_profile("thorough", settings.get_profile("everyday"), max_examples=100)
settings.register_profile(
    "random", settings.get_profile("thorough"), derandomize=False, print_blob=True
)
settings.load_profile("everyday")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument and place, not by their content.

    Content may depend on the clock (a gzip header has the time in it), and then the workers of
    pytest-xdist collect different tests.
    """
    return argname if isinstance(val, bytes | bytearray | memoryview) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for garbage: nearly all that is made stays.

    The looks would take a fifth of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Let collections of garbage pass over what pytest and the tests' modules hold: it stays."""
    gc.freeze()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let a worker of pytest-xdist report a test once, not that it begins, is set up and torn down.

    The whole is reported where somebody looks at it: with -v, and with --durations.
    """
    option = item.config.option
    if "PYTEST_XDIST_WORKER" not in os.environ or option.verbose > 0 or option.durations:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
