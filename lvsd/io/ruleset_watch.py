"""Watch nf_tables: put lvsd's tables up again right after somebody removed or changed them.

The kernel tells every change to its ruleset, with the netlink port of whoever made it. A change to
a table of ours that is not our own is looked into at once: the table is read and compared with what
it has to be. Somebody who changes it again and again is followed ever more slowly, so that packets
have the processor.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.io.netlink import NETLINK_NETFILTER, listen, notifications, open_socket
from lvsd.io.nf_tables import GROUP, table_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lvsd.io.divert import Divert

_RECEIVE: Final = 1 << 16
_DATAGRAMS: Final = 64
"""Read at a time; what is left comes after other things had their turn."""
_LEAST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.1
"""Between one mending and the next: twice the last, unless nothing happened for `_QUIET_S`."""
_SHARE: Final = 9
"""The pause is so many times what the last mending took, at least: a table may be large."""
_QUIET_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0


class RulesetWatch:
    """Keeps the tables of ``divert`` as they have to be.

    ``on_mended`` is called with the names of the tables that were put up again, and how often that
    was since the last call, once a minute at most. ``clock`` tells seconds.
    """

    def __init__(
        self,
        divert: Divert,
        on_mended: Callable[[list[str], int], None],
        clock: Callable[[], float],
    ) -> None:
        self._divert = divert
        self._clock = clock
        self._on_mended = on_mended
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False
        self._pause_s = 0.0
        self._last = 0.0
        self._say_next = 0.0
        self._unsaid = 0
        self._names: set[str] = set()
        self.mended = 0
        """How often a table was put up again."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from now on. Raise KernelError."""
        try:
            self._socket = open_socket(NETLINK_NETFILTER, GROUP)
        except OSError as error:
            raise KernelError("watch nf_tables", error, "see `nft monitor`") from error
        self._loop = loop
        self._last = self._clock() - _QUIET_S
        listen(loop, self._socket, self._readable)

    def close(self) -> None:
        """Stop to watch. Harmless when not started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._loop = self._socket = None

    def check(self) -> None:
        """Look whether the tables stand, whatever was heard of them; say what is still unsaid.

        For once a second or so: it finds what a notification did not tell, and tries again what
        the kernel refused. Raise KernelError.
        """
        if self._loop is None:
            return
        if self._is_due or self._divert.missing():
            self._mend()
        self._say()

    def _readable(self) -> None:
        """See whether anybody else changed one of our tables. A lost notification says so too."""
        if self._socket is None:
            return
        own, names = self._divert.port, self._divert.names
        try:
            for _ in range(_DATAGRAMS):
                datagram = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
                for port, message in notifications(datagram):
                    self._is_due |= port != own and table_of(message) in names
        except BlockingIOError:
            pass
        except OSError as error:
            self._is_due |= error.errno == errno.ENOBUFS
        if self._is_due:
            self._mend_in_time()

    def _mend_in_time(self) -> None:
        """Mend now, or after the pause that whoever changes the ruleset all the time brought."""
        if self._loop is None or self._timer is not None:
            return
        now = self._clock()
        if now >= self._last + _QUIET_S:
            self._pause_s = 0.0
        due = self._last + self._pause_s
        if now >= due:
            self._mend_or_leave()
        else:
            self._timer = self._loop.call_later(due - now, self._mend_or_leave)

    def _mend_or_leave(self) -> None:
        """Mend; what fails is left to `check`, which can say so."""
        self._timer = None
        with suppress(KernelError):
            self._mend()

    def _mend(self) -> None:
        if self._loop is None:
            return
        self._is_due = True
        began = self._clock()
        try:
            names = self._divert.mend()
        finally:
            self._last = self._clock()  # the loop's own time stands still meanwhile
            pause_s = min(max(_LEAST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self._pause_s = max(pause_s, _SHARE * (self._last - began))
        self._is_due = False
        if names:
            self.mended += len(names)
            self._unsaid += 1
            self._names.update(names)
            self._say()

    def _say(self) -> None:
        if self._unsaid and self._loop is not None and self._clock() >= self._say_next:
            self._say_next = self._clock() + _SAY_AGAIN_S
            names, times = sorted(self._names), self._unsaid
            self._names.clear()
            self._unsaid = 0
            self._on_mended(names, times)
