"""Packets on their way through the lab: one request and its reply, at every hop that counts."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.lab.program import find
from lvsd.lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvsd.lab.lab import Lab
    from lvsd.lab.namespace import Namespace

ETH_P_ALL: Final = 3
ETHERNET_BYTES: Final = 14
MAX_FRAME: Final = ETHERNET_BYTES + 65535
CAPTURE_S: Final = 2.0

REQUEST: Final = b"GET / HTTP"
REPLY: Final = b"HTTP/1.1 200"

SERVER: Final = "server"
"""A hop's host: whichever real server has the request."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a packet is seen: the one with ``mark`` in it, on an interface of a host."""

    name: str
    host: str
    interface: str
    mark: bytes = REQUEST

    @property
    def place(self) -> str:
        """The host and its interface."""
        return f"{self.host} {self.interface}"


def finish_checksums(namespace: Namespace) -> None:
    """Make a host fill in the checksums of what it sends, as a real network card does.

    Between veth interfaces the kernel leaves that out, and a capture shows wrong ones.
    """
    namespace.run([find("ethtool"), "-K", "eth0", "tx", "off"])


def watch(lab: Lab, hops: Sequence[Hop], send: Callable[[], object]) -> list[tuple[Hop, bytes]]:
    """Call ``send``, which makes one HTTP request, and return its packets in order of the hops.

    Each comes as an Ethernet frame. Raise KernelError, naming the hops, when some were not seen.
    """
    with contextlib.ExitStack() as stack:
        taps = {
            (host, hop.interface): stack.enter_context(_tap(host, hop.interface))
            for hop in hops
            for host in _hosts(lab, hop)
        }
        frames: dict[tuple[Namespace, str], list[bytes]] = {place: [] for place in taps}
        send()

        def seen(hop: Hop) -> bytes | None:
            places = [(host, hop.interface) for host in _hosts(lab, hop)]
            marked = (frame for place in places for frame in frames[place] if hop.mark in frame)
            return next(marked, None)

        def complete() -> bool:
            for place, tap in taps.items():
                frames[place] += _drain(tap)
            return all(map(seen, hops))

        until(complete, CAPTURE_S)
        found = [(hop, seen(hop)) for hop in hops]
    missed = [f"{hop.name} at {hop.place}" for hop, frame in found if frame is None]
    if missed:
        raise KernelError(
            "follow a request through the lab",
            f"not seen: {', '.join(missed)}",
            "does it take the way that its mode says?",
        )
    return [(hop, frame) for hop, frame in found if frame is not None]


def _hosts(lab: Lab, hop: Hop) -> list[Namespace]:
    return lab.servers if hop.host == SERVER else [lab.host(hop.host)]


@contextlib.contextmanager
def _tap(namespace: Namespace, interface: str) -> Iterator[socket.socket]:
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with tap:
        tap.bind((interface, ETH_P_ALL))
        tap.setblocking(False)
        yield tap


def _drain(tap: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield tap.recv(MAX_FRAME)
