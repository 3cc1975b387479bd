"""Packets on their way through the lab: those of one connection, at every hop that counts."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from lvsd.errors import KernelError
from lvsd.explain.places import SERVER
from lvsd.lab.program import find
from lvsd.lab.wait import PATIENCE, until

if TYPE_CHECKING:
    from lvsd.lab.lab import Lab
    from lvsd.lab.namespace import Namespace

ETH_P_ALL: Final = 3
ETHERNET_BYTES: Final = 14
MAX_FRAME: Final = ETHERNET_BYTES + 65535
CAPTURE_S: Final = 2.0 * PATIENCE

REQUEST: Final = b"GET / HTTP"
REPLY: Final = b"HTTP/1.1 200"

Name = TypeVar("Name", bound=str)

Mark: TypeAlias = bytes | Callable[[bytes], bool]
"""How a frame is told from others: by bytes that are in it, or by a look at the whole."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a packet is seen: the first one with this ``mark``, on an interface of a host."""

    name: str
    host: str
    interface: str
    mark: Mark = REQUEST

    @property
    def place(self) -> str:
        """The host and its interface."""
        return f"{self.host} {self.interface}"

    def shows(self, frame: bytes) -> bool:
        """Whether this is the packet to be seen here."""
        return self.mark in frame if isinstance(self.mark, bytes) else self.mark(frame)


def finish_checksums(namespace: Namespace) -> None:
    """Make a host fill in the checksums of what it sends, as a real network card does.

    Between veth interfaces the kernel leaves that out, and a capture shows wrong ones.
    """
    namespace.run([find("ethtool"), "-K", "eth0", "tx", "off"])


def follow(
    lab: Lab, ways: Mapping[Name, Sequence[Hop]], send: Callable[[], object]
) -> dict[Name, list[tuple[Hop, bytes]]]:
    """Call ``send``, which makes one connection, and return the frames of several of its packets.

    ``ways`` has, for each packet by name, the hops where it is to be seen; so has what comes back.
    Raise KernelError, naming packets and hops, when some were not seen.
    """
    hops = [hop for way in ways.values() for hop in way]
    with contextlib.ExitStack() as stack:
        places = dict.fromkeys((host, hop.interface) for hop in hops for host in _hosts(lab, hop))
        taps = {place: stack.enter_context(_tap(*place)) for place in places}
        frames: dict[tuple[Namespace, str], list[bytes]] = {place: [] for place in taps}
        send()

        def seen(hop: Hop) -> bytes | None:
            at = [(host, hop.interface) for host in _hosts(lab, hop)]
            return next(
                (frame for place in at for frame in frames[place] if hop.shows(frame)), None
            )

        def complete() -> bool:
            for place, tap in taps.items():
                frames[place] += _drain(tap)
            return all(map(seen, hops))

        until(complete, CAPTURE_S)
        found = {name: [(hop, seen(hop)) for hop in way] for name, way in ways.items()}
    missed = [
        f"{name} at {hop.place}"
        for name, way in found.items()
        for hop, frame in way
        if frame is None
    ]
    if missed:
        raise KernelError(
            "follow a request through the lab",
            f"not seen: {', '.join(missed)}",
            "does it take the way that its mode says?",
        )
    return {
        name: [(hop, frame) for hop, frame in way if frame is not None]
        for name, way in found.items()
    }


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
