"""What Python's collector does in an engine: look at new objects once, and never again."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 500
"""Objects that Python's collector looks through at a time, which takes some 0.05 ms."""


def look_at_the_young() -> None:
    """Have the collector look for garbage from now on, which a start does not."""
    gc.enable()
    gc.set_threshold(YOUNG)
    gc.callbacks.append(_leave_the_old)


def _leave_the_old(phase: str, _: dict[str, int]) -> None:
    """Have the collector look at no object twice.

    A million connections are millions of objects, and to walk them holds up every packet. They
    form no cycles, nor does anything else that lives long here: what goes, goes by its count of
    references.
    """
    if phase == "stop":
        gc.freeze()
