"""See the frames that reach a host, as scapy reads them."""

from __future__ import annotations

import select
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.netns.io.hosts import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.hosts import Host

_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4


class Wire:
    """The frames that come in by one interface, in order; only UDP and fragments."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def take(self, count: int) -> list[Any]:
        """Return the next frames; fail when they do not come."""
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count:
            ready, _, _ = select.select([self._socket], [], [], deadline - time.monotonic())
            assert ready, f"{len(found)} frames came, not {count}"
            found += self._read()
        return found

    def nothing(self) -> bool:
        """Return whether nothing is there that was not taken."""
        ready, _, _ = select.select([self._socket], [], [], 0)
        while ready:
            if self._read():
                return False
            ready, _, _ = select.select([self._socket], [], [], 0)
        return True

    def _read(self) -> list[Any]:
        data, sender = self._socket.recvfrom(1 << 16)
        frame = Ether(data)
        ours = sender[2] != _OUTGOING and _is_data(frame)
        return [frame] if ours else []


@contextmanager
def wire(host: Host, interface: str = "eth0") -> Iterator[Wire]:
    """See the frames that come to a host from now on."""
    with host.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        sock.bind((interface, _ETH_P_ALL))
    with sock:
        yield Wire(sock)


def datagram(source: str, destination: str, payload: bytes, **fields: Any) -> bytes:
    """Return a UDP datagram with all its checksums, from port 5300 to port 5400."""
    header = IPv6 if ":" in source else IP
    packet = header(src=source, dst=destination, **fields) / UDP(sport=5300, dport=5400) / payload
    return bytes(packet)


def _is_data(frame: Any) -> bool:
    if IP in frame:
        return bool(frame[IP].proto == 17)
    return IPv6 in frame and frame[IPv6].nh in {17, 44}
