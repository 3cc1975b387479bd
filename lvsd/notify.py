"""Tell systemd how the daemon is: ready, stopping, alive (sd_notify(3), sd_watchdog_enabled(3)).

Without systemd, when NOTIFY_SOCKET is not set, nothing happens.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def status(text: str) -> str:
    """Return the message that shows ``text`` in ``systemctl status``; kept on one line."""
    return "STATUS=" + " ".join(text.split())


def notify(*messages: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send messages to the service manager; return whether it took them.

    Never raises and never blocks: the packets must not wait for the service manager. A
    watchdog's beat that was not taken is made good by the next.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto("\n".join(messages).encode(), address)
    except OSError:
        return False
    return True


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
