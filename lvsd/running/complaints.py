"""Say what is wrong, so that a fault that lasts does not fill the log.

A fault is logged when it begins, once a minute while it lasts, and once when it is over. One that
comes and goes is logged once a minute at most as well.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from lvsd.errors import LvsdError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import Any

Obstacle: TypeAlias = tuple[str, str, str]
"""What is wrong, about whom or what, and a remedy."""

REPEAT_S: Final = 60.0
"""How long the log is silent about a fault that it has just told of."""

NO_DESCRIPTORS: Final = "too many files are open: raise the limit (`ulimit -n`, LimitNOFILE=)"

NAMED: Final = 5
"""Obstacles of one kind that the log tells of one by one; of more there is one line."""

_NEVER: Final = float("-inf")

log = structlog.get_logger("lvsd")


@dataclass(slots=True)
class _Fault:
    said_at: float = _NEVER
    times: int = 0
    """How often it happened since the log last told of it."""
    open: bool = False
    """The log says that it happens, and not yet that it is over."""


class Complaints:
    """Logs faults of the daemon and obstacles around it; ``clock`` tells seconds. Never raises."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults: dict[str, _Fault] = {}
        self._obstacles: dict[str, float] = {}
        """Obstacle -> when the log told of it."""
        self._standing: set[str] = set()

    def fault(self, what: str, error: BaseException | None) -> None:
        """Log that ``what`` goes wrong, with a traceback if the error may be a mistake in lvsd.

        ``what`` is a whole sentence, and one of a few: each is remembered for good.
        """
        try:
            now = self._clock()
            fault = self._faults.setdefault(what, _Fault())
            fault.times += 1
            if now < fault.said_at + REPEAT_S:
                return
            again = {} if fault.times == 1 else {"times": fault.times}
            fault.said_at, fault.times, fault.open = now, 0, True
            if error is None:
                log.error(what, **again)
            elif isinstance(error, LvsdError | OSError | MemoryError):
                log.error(what, error=_line(error), **again)
            else:
                log.error(what, **again, exc_info=error)
        except Exception:  # noqa: BLE001, S110 - without memory there are no words, either
            pass

    def of_packets(self, error: BaseException) -> None:
        """Log an error of lvsd, or of a scheduler, that cost packets."""
        self.fault("an error in lvsd, or in a scheduler; packets may be lost", error)

    def of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what a callback of the event loop raised (`asyncio.loop.set_exception_handler`).

        asyncio goes on to accept connections a second after there were no descriptors for one.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            self.fault(NO_DESCRIPTORS, error)
        else:
            self.fault("an error in lvsd; packets may be lost", error)

    def over(self, what: str) -> None:
        """Log that what was told of as a fault is over; nothing if it was not told of."""
        fault = self._faults.get(what)
        if fault is not None and fault.open:
            fault.open = False
            fault.times = 0
            log.info("a fault is over", fault=what)

    @staticmethod
    def mended(tables: list[str], times: int) -> None:
        """Log that somebody removed or changed nftables tables of lvsd, and that they are back."""
        what = "somebody removed or changed an nftables table of lvsd; put it up again"
        log.warning(what, tables=[f"inet {name}" for name in tables], times=times)

    def obstacles(self, found: Iterable[Obstacle]) -> None:
        """Log what was not among the obstacles when this was last called.

        An obstacle is a sentence, the name or address that it is about, and a remedy. More than
        `NAMED` of one sentence are told of in one line, with the first names.
        """
        now = self._clock()
        keyed = {f"{what}: {whom}": (what, whom, remedy) for what, whom, remedy in found}
        self._standing &= keyed.keys()
        alike: dict[str, list[tuple[str, str]]] = {}
        for key in sorted(keyed.keys() - self._standing):
            if now < self._obstacles.get(key, _NEVER) + REPEAT_S:
                continue
            what, whom, remedy = keyed[key]
            alike.setdefault(what, []).append((whom, remedy))
            self._obstacles[key] = now
            self._standing.add(key)
        for what, about in alike.items():
            if len(about) <= NAMED:
                for whom, remedy in about:
                    log.warning(what, address=whom, remedy=remedy)
            else:
                first = ", ".join(whom for whom, _ in about[:NAMED])
                log.warning(what, address=f"{first}, ...", times=len(about), remedy=about[0][1])
        if len(self._obstacles) > len(keyed):
            self._obstacles = {
                key: said_at
                for key, said_at in self._obstacles.items()
                if key in keyed or now < said_at + REPEAT_S
            }


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or {"MemoryError": "out of memory"}.get(type(error).__name__, type(error).__name__)
