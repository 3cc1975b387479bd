"""Packets as they cross the director's interfaces: one request and its reply, twice each."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.program import find
from lvsd.lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.lab.namespace import Namespace

ETH_P_ALL = 3
MAX_PACKET = 65535
CAPTURE_S = 2.0

REQUEST = b"GET / HTTP"
REPLY = b"HTTP/1.1 200"

HOPS = (
    ("request before, on front", "front", REQUEST),
    ("request after, on back", "back", REQUEST),
    ("reply before, on back", "back", REPLY),
    ("reply after, on front", "front", REPLY),
)
"""Where a request and its reply are seen, in the order of their way."""


def finish_checksums(namespace: Namespace) -> None:
    """Make a host fill in the checksums of what it sends, as a real network card does.

    Between veth interfaces the kernel leaves that out, and a capture shows wrong ones.
    """
    namespace.run([find("ethtool"), "-K", "eth0", "tx", "off"])


def watch(director: Namespace, send: Callable[[], object]) -> list[tuple[str, bytes]]:
    """Call ``send``, which makes one HTTP request, and return its packets in order of `HOPS`.

    Each comes with its hop's name, and begins at the IP header. Raise KernelError when one of
    them was not seen.
    """
    with contextlib.ExitStack() as stack:
        taps = {name: stack.enter_context(_tap(director, name)) for name in ("front", "back")}
        send()
        packets: dict[str, list[bytes]] = {name: [] for name in taps}
        found: list[tuple[str, bytes]] = []

        def complete() -> bool:
            for name, tap in taps.items():
                packets[name] += _drain(tap)
            found[:] = [
                (hop, packet)
                for hop, name, mark in HOPS
                for packet in [packet for packet in packets[name] if mark in packet][:1]
            ]
            return len(found) == len(HOPS)

        if not until(complete, CAPTURE_S):
            raise KernelError(
                "capture a request at the director",
                "not all of its packets were seen",
                "does the request cross both of the director's interfaces?",
            )
    return found


@contextlib.contextmanager
def _tap(namespace: Namespace, interface: str) -> Iterator[socket.socket]:
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    with tap:
        tap.bind((interface, ETH_P_ALL))
        tap.setblocking(False)
        yield tap


def _drain(tap: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield tap.recv(MAX_PACKET)
