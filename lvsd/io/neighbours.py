"""The MAC addresses of chosen neighbours, as the kernel's table has them: asked once, then told.

The kernel does the resolving (ARP, RFC 826; neighbour discovery, RFC 4861) and the probing;
notifications keep the copy here true. What does not go through the kernel's own output, frames
above all, leaves no trace of use in the table: `Neighbours.ask` says that a neighbour is in use,
whereupon the kernel looks for one that is missing and probes one that grew old.

Asking is RTM_NEWNEIGH with NTF_USE, which creates no permanent entry but makes a permanent one
ordinary (__neigh_update): those are never asked for.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from lvsd.errors import KernelError
from lvsd.io.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
    encode,
    linked,
    listen,
    messages,
    open_socket,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

Place: TypeAlias = tuple[int, bytes]
"""Interface index and packed address: neighbours are an interface's."""

_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type
_NDA_DST, _NDA_LLADDR = 1, 2
_NTF_USE: Final = 0x01
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NUD_VALID: Final = 0x02 | 0x04 | 0x08 | 0x10 | _NUD_NOARP | _NUD_PERMANENT
_GROUP: Final = 0x4  # RTMGRP_NEIGH
_RECEIVE: Final = 1 << 16
_MAC_LENGTH: Final = 6


class _Entry(NamedTuple):
    mac: bytes | None
    fixed: bool


_UNKNOWN: Final = _Entry(None, fixed=False)


class Neighbours:
    """The MACs of the neighbours that are watched; ``on_change`` is called with whose changed."""

    def __init__(self, on_change: Callable[[Place], None]) -> None:
        self._on_change = on_change
        self._entries: dict[Place, _Entry] = {}
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the kernel's table from now on. Raise KernelError."""
        try:
            self._socket = open_socket(NETLINK_ROUTE, _GROUP)
        except OSError as error:
            raise KernelError("watch neighbours", error, "see netlink(7)") from error
        self._socket.setblocking(False)
        self._loop = loop
        listen(loop, self._socket, self._readable)

    def close(self) -> None:
        """Stop to follow. Harmless when done twice."""
        if self._loop is not None and self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._loop = self._socket = None
        self._entries.clear()

    def mac(self, place: Place) -> bytes | None:
        """Return the MAC of a watched neighbour, None while the kernel knows none."""
        return self._entries.get(place, _UNKNOWN).mac

    def watch(self, places: Iterable[Place]) -> bool:
        """Follow these neighbours, too; what the kernel knows of them now is known afterwards.

        Nobody is asked on the wire, and ``on_change`` is not called. Never raises: of whom the
        kernel tells nothing, nothing is known. Return False when it could not be asked at all.
        """
        wanted = list(places)
        self._entries |= dict.fromkeys(wanted, _UNKNOWN)
        try:
            with linked(NETLINK_ROUTE) as link:
                for place in wanted:
                    try:
                        answer = link.get(Message(_GETNEIGH, 0, _request(place, 0)))
                    except OSError:
                        continue
                    self._note(answer)
        except OSError:
            return False
        return True

    def forget(self, place: Place) -> None:
        """Follow a neighbour no longer. Harmless for one that is not watched."""
        self._entries.pop(place, None)

    def ask(self, places: Iterable[Place]) -> None:
        """Let the kernel look for these neighbours, or make sure that they are where they were.

        Returns before anybody has answered. Never raises: who cannot be asked stays unknown.
        """
        if self._socket is None:
            return
        self._readable()
        requests = (
            Message(_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE, _request(place, _NTF_USE))
            for place in places
            if not self._entries.get(place, _UNKNOWN).fixed
        )
        # One datagram: the kernel answers only what it refuses, and goes on with the next.
        if data := b"".join(encode(request, 0) for request in requests):
            try:
                self._socket.send(data)
            except OSError:
                return

    def _readable(self) -> None:
        """Take in what the kernel told; after a loss look at everybody anew."""
        changed: dict[Place, None] = {}
        try:
            while self._socket is not None:
                for _, message in messages(self._socket.recv(_RECEIVE)):
                    changed |= dict.fromkeys(self._note(message))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            before = dict(self._entries)
            self.watch(list(before))
            changed |= {each: None for each in before if before[each] != self._entries[each]}
        for place in changed:
            self._on_change(place)

    def _note(self, message: Message) -> list[Place]:
        """Write down what a message says; return whose MAC it changed, if anybody's."""
        if message.kind not in {_NEWNEIGH, _DELNEIGH} or len(message.body) < _NDMSG.size:
            return []
        _, interface, state, _, _ = _NDMSG.unpack_from(message.body)
        values = attributes(message.body, _NDMSG.size)
        place = (interface, values.get(_NDA_DST, b""))
        before = self._entries.get(place)
        if before is None:
            return []
        mac = values.get(_NDA_LLADDR)
        known = message.kind == _NEWNEIGH and state & _NUD_VALID
        if not known or mac is None or len(mac) != _MAC_LENGTH:
            entry = _UNKNOWN
        else:
            entry = _Entry(mac, fixed=bool(state & (_NUD_NOARP | _NUD_PERMANENT)))
        self._entries[place] = entry
        return [place] if entry.mac != before.mac else []


def _request(place: Place, flags: int) -> bytes:
    interface, address = place
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return _NDMSG.pack(family, interface, 0, flags, 0) + attribute(_NDA_DST, address)
