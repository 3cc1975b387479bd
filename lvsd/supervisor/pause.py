"""What a stop leaves for the start that may follow: connections, and that nobody resets them.

A stop that somebody asks for is a pause, of `hold_s` seconds at most; with 0 it is for good. One
that an error brings about is for good, too: what was kept may be what caused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from lvsd.io import leftovers, state_file
from lvsd.io.state_file import state_path

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.io.divert import Divert

log = structlog.get_logger("lvsd")


class Ending(Protocol):
    """What can be ended."""

    async def stop(self, *, keep: bool = False) -> None:
        """End the engine; with ``keep`` its connections are to go on."""


class NoEngine:
    """There is none of ours."""

    async def stop(self, *, keep: bool = False) -> None:
        """Do nothing."""


class Pause:
    """The end of what ``divert`` and ``engine`` do; ``hold_s`` is the operator's, in seconds."""

    def __init__(self, hold_s: int, divert: Divert, engine: Ending) -> None:
        self.hold_s = hold_s
        self._divert = divert
        self._engine = engine
        self._state: Path | None = None
        self._was_kept = self._was_held = self._keeps = self._holds = False

    @property
    def state(self) -> str:
        """The path of the file that the engine's state is kept in."""
        return str(self._state or "")

    def begin(self, directory: Path) -> None:
        """Go on with what an lvsd left in its runtime directory. Raise KernelError, OSError."""
        self._was_held = leftovers.are_held()
        self._state = state_path(directory)
        self._was_kept = self._state.exists()
        self.comes(was_ready=False)  # a start that fails leaves what it found

    def go_on(self, directory: Path) -> None:
        """Go on with an engine that lives, and what packets are diverted to it by.

        A start that fails leaves its connections to the next one.
        """
        self._state = state_path(directory)
        self._was_kept = self._was_held = True
        self.comes(was_ready=False)

    def ready(self) -> None:
        """Take note that all is up: what ends it now is for good, unless somebody asks for that."""
        self._keeps = self._holds = False

    def comes(self, *, was_ready: bool) -> None:
        """Take note that somebody asked for a stop; what was not ready leaves what it found."""
        self._keeps = self.hold_s > 0 and (was_ready or self._was_kept)
        self._holds = self.hold_s > 0 and (was_ready or self._was_held)

    def stop_diverting(self) -> None:
        """Divert packets no longer, and keep them from the host. Raise KernelError."""
        if self._divert.down(self.hold_s if self._holds else 0):
            log.info("dropping the services' packets until the next start", at_most_s=self.hold_s)

    async def end_engine(self) -> None:
        """End the engine, and what was kept of it where nobody is to go on with that."""
        await self._engine.stop(keep=self._keeps)
        if self._state is not None and not self._keeps:
            try:
                state_file.remove(self._state)
            except OSError as error:
                log.warning("left behind", what=f"the state {self._state}: {error.strerror}")
