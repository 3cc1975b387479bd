"""Tell systemd how the daemon is: ready, reloading, stopping, alive.

Source: sd_notify(3), sd_watchdog_enabled(3).

Without systemd, when NOTIFY_SOCKET is not set, nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
RELOADING = "RELOADING=1"
WATCHDOG = "WATCHDOG=1"


def status(text: str) -> str:
    """Return the message that shows ``text`` in ``systemctl status``; kept on one line."""
    return "STATUS=" + " ".join(text.split())


def monotonic_now() -> str:
    """Return the message that has to go with `RELOADING` (systemd 253 and newer compare it)."""
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


class Notifier:
    """Tells the service manager by one socket, which stays open: a beat needs no descriptor.

    Without descriptors, when it is made, every message is lost.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")):
            self._address = "\0" + address[1:] if address.startswith("@") else address
            with suppress(OSError):
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
                )

    def send(self, *messages: str) -> bool:
        """Send messages to the service manager; return whether it took them.

        Never raises and never blocks: the packets must not wait for the service manager. A
        watchdog's beat that was not taken is made good by the next.
        """
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(messages).encode(), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket. Harmless when done twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def notify(*messages: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send messages to the service manager once, see `Notifier.send`."""
    notifier = Notifier(environ)
    try:
        return notifier.send(*messages)
    finally:
        notifier.close()


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds within which systemd wants a beat, or None when it wants none.

    Beat at less than half of it. WATCHDOG_PID names the process that the watchdog is for.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_us = int(environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return interval_us / 1_000_000 if interval_us > 0 else None
