"""Clients that notice any interruption: downloads, idle connections, and new ones all the time.

For what a restart, an upgrade or a reload does to connections: `Load.stop` tells what broke, and
`Load.close` closes them, which is when clients and servers may well send a RST.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lvsd.lab.wait import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvsd.lab.namespace import Namespace

PATIENCE_S: Final = 20.0 * PATIENCE
"""How long a client waits for anything before it counts as broken, in seconds."""

PIECE: Final = 16 << 10
PIECE_S: Final = 0.25
PACE: Final = 64 << 10
"""A download reads so many bytes a second, a piece at a time: it lasts as long as it is wanted."""

BUFFER: Final = 16 << 10
"""What a download's socket holds. With more a server would wait long for each time that there is
room, and were that lost, ask again later and later (RFC 9293, section 3.8.6.1)."""

REST: Final = 256 << 10
"""Bytes that a download has to get after everything, to count as whole."""

_STILL_OPEN: Final = ["ss", "-Htn", "state", "connected", "exclude", "time-wait"]
_WINDOW: Final = 32 << 10
_HEAD: Final = b"Host: lab\r\n\r\n"


@dataclass
class Outcome:
    """What the clients saw. ``broken`` has a line for each connection that did not go on.

    ``broken_at`` says of each of these when that was, or when it began, if it never had an answer.
    ``waits_s`` are how long new connections took, from the SYN to the last byte, with the time on
    the monotonic clock when each began.
    """

    downloads: int = 0
    idle: int = 0
    broken: list[str] = field(default_factory=list)
    broken_at: list[float] = field(default_factory=list)
    waits_s: list[tuple[float, float]] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """How long the slowest of the new connections took."""
        return max((wait for _, wait in self.waits_s), default=0.0)


class Load:
    """Clients in a host of the lab, of several virtual addresses in turn.

    ``payload`` is the file that the real servers serve as /file. ``downloads`` and ``idle`` are
    how many there are at the same time, ``rate`` how many new connections there are a second,
    ``pace`` how many bytes a second each download takes.
    """

    def __init__(
        self,
        client: Namespace,
        vips: Sequence[str],
        payload: Path,
        *,
        port: int = 80,
        downloads: int = 10,
        idle: int = 10,
        rate: float = 20.0,
        pace: int = PACE,
    ) -> None:
        self._client = client
        self._vips = tuple(vips)
        self._port = port
        self._payload = payload.read_bytes()
        self._downloads, self._idle, self._rate = downloads, idle, rate
        self._piece = max(1, int(pace * PIECE_S))
        self._outcome = Outcome()
        self._running = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event
        self._may_close: asyncio.Event
        self._left = downloads + idle
        self._seen = threading.Event()
        self._open_ones: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin; return when all downloads and idle connections have had an answer."""
        self._thread.start()
        self._running.wait(PATIENCE_S)

    def stop(self) -> Outcome:
        """See whether everything goes on; return what was seen. All is still open."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._seen.wait()
        return self._outcome

    def close(self) -> None:
        """Close everything, and see that the other side has heard of it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._loop.call_soon_threadsafe(self._may_close.set)
        self._thread.join()
        until(lambda: not self._client.run(_STILL_OPEN).stdout, PATIENCE_S)

    def _run(self) -> None:
        try:
            with self._client.entered():
                asyncio.run(self._all())
        finally:
            self._seen.set()

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over, self._may_close = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(self._downloads):
                group.create_task(self._noted(f"download {number}", self._download(number)))
            for number in range(self._idle):
                group.create_task(self._noted(f"idle connection {number}", self._keep(number)))
            began, number = time.monotonic(), 0
            while not self._over.is_set():
                what = self._noted(f"new connection {number}", self._visit(number), is_new=True)
                group.create_task(what)
                number += 1
                pause_s = began + number / self._rate - time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), max(0.0, pause_s))
        self._seen.set()
        await self._may_close.wait()
        for writer in self._open_ones:
            writer.close()

    async def _noted(self, who: str, what: object, *, is_new: bool = False) -> None:
        began = time.monotonic()
        try:
            await what  # type: ignore[misc]  # it is a coroutine
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self._outcome.broken.append(f"{who}: {error!r}")
            self._outcome.broken_at.append(began if is_new else time.monotonic())

    async def _open(
        self, number: int, buffer: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        vip = self._vips[number % len(self._vips)]
        family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        own = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if buffer:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(own, (vip, self._port))
                return await asyncio.open_connection(sock=own, limit=buffer or _WINDOW)
        except BaseException:
            own.close()
            raise

    def _answered(self) -> None:
        self._left -= 1
        if not self._left:
            self._running.set()

    async def _download(self, number: int) -> None:
        reader, writer = await self._open(number, BUFFER)
        self._open_ones.append(writer)
        writer.write(b"GET /file HTTP/1.0\r\n" + _HEAD)
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"\r\n\r\n")
        self._answered()
        at = 0
        while not self._over.is_set():
            at = await self._read(reader, at, self._piece)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PIECE_S)
        enough = min(at + REST, len(self._payload))
        while at < enough:
            at = await self._read(reader, at)
        self._outcome.downloads += 1

    async def _read(self, reader: asyncio.StreamReader, at: int, most: int = PIECE) -> int:
        """Read a piece of the file, which has to be the next one; return where it ends."""
        async with asyncio.timeout(PATIENCE_S):
            piece = await reader.read(most)
        if not piece:
            raise EOFError(f"it ended after {at} bytes")
        if piece != self._payload[at : at + len(piece)]:
            raise ValueError(f"other bytes than the file's after {at}")
        return at + len(piece)

    async def _keep(self, number: int) -> None:
        reader, writer = await self._open(number)
        self._open_ones.append(writer)
        await _ask(reader, writer)
        self._answered()
        await self._over.wait()
        await _ask(reader, writer)
        self._outcome.idle += 1

    async def _visit(self, number: int) -> None:
        began = time.monotonic()
        reader, writer = await self._open(number)
        try:
            writer.write(b"GET / HTTP/1.0\r\n" + _HEAD)
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ValueError(f"the answer was {answer[:20]!r}")
            self._outcome.waits_s.append((began, time.monotonic() - began))
        finally:
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for / on a connection that stays open."""
    writer.write(b"GET / HTTP/1.1\r\n" + _HEAD)
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length)
