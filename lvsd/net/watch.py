"""Be told by the kernel when its network changes (the groups of rtnetlink(7)), on an asyncio loop.

The sockets are Python's own. pyroute2's asynchronous one takes every message apart, 0.14 ms for
each route that a routing daemon loads, and cannot be used again once it lost one. Here nobody reads
what changed; only what is told of neighbours is taken apart, by pyroute2.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError
from lvsd.net import neighbours
from lvsd.net.kernel import encode, marshal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from lvsd.net.kernel import Request
    from lvsd.net.neighbours import Neighbour

_NETLINK_ROUTE: Final = 0
# RTNLGRP_*: links; addresses, routes and rules of both families; nexthop objects. Group n is bit
# n - 1. A kernel without one of the last (nexthop objects: 5.3) takes the others.
_CHANGES: Final = sum(1 << group - 1 for group in (1, 5, 7, 8, 9, 11, 19, 32))
_NEIGHBOURS: Final = 1 << 3 - 1
_RECEIVE: Final = 1 << 16
_AT_ONCE: Final = 64
"""Datagrams that are read, or requests that are sent, in one go."""


class Watch:
    """Calls ``changed`` after links, addresses, routes, `ip rule` or nexthop objects changed.

    Once for all changes within ``delay_s`` of the first, so that a routing daemon that loads a
    table costs one call.
    """

    def __init__(self, changed: Callable[[], None], *, delay_s: float = 0.2) -> None:
        self._changed = changed
        self._delay_s = delay_s
        self._told: _Told | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from now on. Raise KernelError."""

        def take(_: bytes | None) -> None:
            # That there is a message is the message, and so is a lost one.
            if self._timer is None:
                self._timer = loop.call_later(self._delay_s, self._fire)

        self._told = _Told(loop, _CHANGES, take)

    def close(self) -> None:
        """Stop watching; a call that is due is not made. Harmless when not started."""
        if self._told is not None:
            self._told.close()
        if self._timer is not None:
            self._timer.cancel()
        self._told = self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._changed()


class NeighbourWatch:
    """Calls ``told`` with each neighbour that the kernel says something new of.

    ``lost`` is called where it said more than could be read in time: what is known of any
    neighbour may be wrong then.
    """

    def __init__(self, told: Callable[[Neighbour], None], lost: Callable[[], None]) -> None:
        self._tell = told
        self._lost = lost
        self._told: _Told | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from now on. Raise KernelError."""
        self._told = _Told(loop, _NEIGHBOURS, self._take)

    def close(self) -> None:
        """Stop watching. Harmless when not started."""
        if self._told is not None:
            self._told.close()
            self._told = None

    def catch_up(self) -> None:
        """Tell now what waits to be told."""
        if self._told is not None:
            self._told.read()

    def send(self, requests: Iterable[Request]) -> None:
        """Send the kernel requests, and wait for no answer: what it refuses is not done.

        Never raises.
        """
        if self._told is None:
            return
        data = [encode(self._marshal.msg_map, each, 0) for each in requests]
        for at in range(0, len(data), _AT_ONCE):
            self._told.send(b"".join(data[at : at + _AT_ONCE]))

    @cached_property
    def _marshal(self) -> Any:
        """What takes messages apart; importing it holds up whoever asks first."""
        return marshal()

    def _take(self, datagram: bytes | None) -> None:
        if datagram is None:
            self._lost()
            return
        for message in self._marshal.parse(datagram):
            kind = message["header"]["type"]
            if kind in neighbours.KINDS and message["family"] in neighbours.FAMILIES:
                neighbour = neighbours.made(message)
                gone = kind == neighbours.GONE
                self._tell(replace(neighbour, mac=None, is_fixed=False) if gone else neighbour)


class _Told:
    """A socket that is told of some groups; ``take`` gets each datagram, None for lost ones."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, groups: int, take: Callable[[bytes | None], None]
    ) -> None:
        self._loop = loop
        self._take = take
        try:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            self.socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE)
            self.socket.bind((0, groups))
        except OSError as error:
            raise KernelError("watch the network", error, "see netlink(7)") from error
        loop.add_reader(self.socket, self.read)

    def close(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except OSError:
            return

    def read(self) -> None:
        """Read some datagrams; the loop calls again as long as there are more."""
        for _ in range(_AT_ONCE):
            if self.socket.fileno() < 0:  # who was told has closed it
                return
            try:
                datagram = self.socket.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._take(None)
            else:
                self._take(datagram)
