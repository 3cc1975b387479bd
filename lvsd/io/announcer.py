"""Announce addresses on their links, unasked: gratuitous ARP, unsolicited advertisements.

Hosts on the link, and switches, else go on sending to the MAC that had an address before, for as
long as they remember it. A frame may be lost, so that each is sent `TIMES` times, `PAUSE_S` apart.
"""

from __future__ import annotations

import errno
import socket
from threading import Lock
from typing import Final, NamedTuple

from lvsd.io import sysctls
from lvsd.packet.neighbour import announcement

TIMES: Final = 3
PAUSE_S: Final = 1.0
BURST: Final = 256
"""Frames that are sent in one go; of more, the rest has its turn a pause later."""

_GONE: Final = {errno.ENODEV, errno.ENXIO, errno.ENETDOWN}
"""What the kernel says of an interface that is gone, or down: who is back is announced anew."""


class _Planned(NamedTuple):
    due: float
    left: int
    mac: bytes


class Announcer:
    """Sends announcements when they are due: call `tick` once a second or so, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._planned: dict[tuple[int, bytes], _Planned] = {}
        self.sent = 0

    def announce(self, interface: int, mac: bytes, address: bytes, now: float) -> None:
        """Have a packed address announced from ``now`` on, which is the first time.

        ``mac`` is that of the interface of this index.
        """
        with self._lock:
            self._planned[interface, address] = _Planned(now, TIMES, mac)

    def tick(self, now: float) -> None:
        """Send what is due. Raise OSError when nothing can be sent: then it is due still."""
        with self._lock:
            due = [place for place, each in self._planned.items() if each.due <= now][:BURST]
            if not due:
                return
            is_router = sysctls.exists(_FORWARDING) and sysctls.read(_FORWARDING) != "0"
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as sock:
                for place in due:
                    self._send(sock, place, now, is_router=is_router)

    def _send(
        self, sock: socket.socket, place: tuple[int, bytes], now: float, *, is_router: bool
    ) -> None:
        index, address = place
        planned = self._planned[place]
        try:
            name = socket.if_indextoname(index)
            sock.sendto(announcement(address, planned.mac, is_router=is_router), (name, 0))
        except OSError as error:
            if error.errno in _GONE:
                del self._planned[place]
                return
            raise
        self.sent += 1
        if planned.left > 1:
            self._planned[place] = planned._replace(due=now + PAUSE_S, left=planned.left - 1)
        else:
            del self._planned[place]


_FORWARDING: Final = sysctls.FORWARDING[6]
