"""A pytest plug-in that lets the tests be collected at another time: -p tests.unit.elsewhen.

``LVSD_TEST_ELSEWHEN_S`` says how many seconds from now; the clocks that count from an epoch, or
from the boot, are moved by so many.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SHIFT_S = int(os.environ["LVSD_TEST_ELSEWHEN_S"])


def _moved(clock: Callable[[], float], shift: int) -> Callable[[], float]:
    return lambda: clock() + shift


for _name in ("time", "monotonic", "perf_counter"):
    setattr(time, _name, _moved(getattr(time, _name), SHIFT_S))
    setattr(time, f"{_name}_ns", _moved(getattr(time, f"{_name}_ns"), SHIFT_S * 10**9))


class _Datetime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Datetime:
        return cls.fromtimestamp(time.time(), tz)


class _Date(dt.date):
    @classmethod
    def today(cls) -> _Date:
        return cls.fromtimestamp(time.time())


dt.datetime = _Datetime  # type: ignore[misc]  # for the modules of the tests
dt.date = _Date  # type: ignore[misc]
