"""The program that takes outer headers off where the kernel has no device for it.

::

    outer packet --> raw or UDP socket --> `Decapsulation` --> TUN device --> the host's own stack

Some 9 us of processor time a packet, of 1,400 bytes or of 100. It runs until SIGTERM, SIGINT or
SIGHUP.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from contextlib import contextmanager, suppress
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, Final

from lvsd import notify
from lvsd.realserver.decapsulation import Counts, Decapsulation
from lvsd.realserver.receivers import Receiver, receivers
from lvsd.realserver.tun_device import TunDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from lvsd.realserver.ends import TunnelEnd
    from lvsd.realserver.settings import Settings

BATCH: Final = 64
"""Packets of one socket before the others have their turn."""
REPORT_S: Final = 1.0
"""How often the counts are written, if they changed."""


class Decapsulator:
    """Sockets, device and the loop between them."""

    def __init__(self, settings: Settings, ends: Iterable[TunnelEnd], counts_file: Path) -> None:
        """Open everything; packets wait until `run`. Raise KernelError, PrivilegeError."""
        self._decapsulation = Decapsulation(settings.vips, settings.directors)
        self._receivers = receivers(ends, settings.port)
        try:
            self._device = TunDevice()
        except BaseException:
            self._close_receivers()
            raise
        self._counts_file = counts_file
        self._written = Counts()

    @property
    def counts(self) -> Counts:
        """What became of the packets."""
        return self._decapsulation.counts

    def run(self, ready: Callable[[], None]) -> signal.Signals:
        """Move packets until a signal says to end, and return it; ``ready`` is called first."""
        watchdog_s = notify.watchdog_s()
        pause_s = min(REPORT_S, (watchdog_s or REPORT_S) / 3)
        with selectors.DefaultSelector() as selector, _signals() as signals:
            for receiver in self._receivers:
                selector.register(receiver.socket, selectors.EVENT_READ, receiver)
            selector.register(signals, selectors.EVENT_READ)
            ready()
            due = monotonic()
            while True:
                for key, _ in selector.select(pause_s):
                    if key.data is None:
                        return signal.Signals(signals.recv(1)[0])
                    self._turn(key.data)
                if monotonic() >= due:
                    due = monotonic() + pause_s
                    self._report()
                    if watchdog_s:
                        notify.notify(notify.WATCHDOG)

    def close(self) -> None:
        """Remove the device, close the sockets, and take the counts away."""
        self._close_receivers()
        self._device.close()
        with suppress(OSError):
            self._counts_file.unlink(missing_ok=True)

    def _turn(self, receiver: Receiver) -> None:
        """Move the packets that wait, up to `BATCH`."""
        decapsulation, counts = self._decapsulation, self.counts
        for _ in range(BATCH):
            outer = receiver.receive()
            if outer is None:
                return
            inner = decapsulation.take(receiver.carrier, *outer)
            if inner is None:
                continue
            if self._device.write(inner, decapsulation.checksum_start()):
                counts.delivered += 1
            else:
                counts.failed += 1

    def _report(self) -> None:
        """Write the counts where `status` finds them, if they changed."""
        self.counts.lost = sum(receiver.lost() for receiver in self._receivers)
        if self.counts == self._written:
            return
        draft = self._counts_file.with_suffix(".new")
        with suppress(OSError):  # a full disk must not stop packets
            draft.write_text(json.dumps(asdict(self.counts)), encoding="ascii")
            draft.replace(self._counts_file)
            self._written = Counts(**asdict(self.counts))

    def _close_receivers(self) -> None:
        for receiver in self._receivers:
            receiver.socket.close()


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Have the signals that end a program as bytes on a socket; ignored ones stay ignored."""
    ours, kernels = socket.socketpair()
    with ours, kernels:
        kernels.setblocking(False)
        before = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            if signal.getsignal(number) != signal.SIG_IGN
        }
        wakeup = signal.set_wakeup_fd(kernels.fileno())
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def exit_status(ended_by: signal.Signals) -> int:
    """Return the exit status of a program that ended on a signal, having put all back."""
    return os.EX_OK if ended_by == signal.SIGTERM else 128 + ended_by
