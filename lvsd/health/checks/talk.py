"""What the checks over TCP have in common: a connection to say little on, and to hear little.

Sockets are used as they are (`loop.sock_recv`), and TLS in memory: a transport costs half as much
again per probe, and asyncio's TLS has a buffer of 256 KiB for each connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

from lvsd.health.base import LONGEST_REASON, UnhealthyError
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.health.base import Target
    from lvsd.health.checks.tls import Tls

T = TypeVar("T")

LONGEST_LINE: Final = 4096
"""Bytes of a line at the most; SMTP's longest are 512 (RFC 5321, 4.5.3.1.5)."""

PART: Final = 1 << 16
"""Bytes that are read at a time."""

MOST: Final = 1 << 20
"""Bytes that are read on a connection. Whoever sends faster than they are read would have the whole
loop, as `loop.sock_recv` waits for nothing then."""

FAREWELL_S: Final = 0.1
"""How long a server may take to close a connection too, in seconds; it is reset then."""

_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closed by a RST, so that neither end keeps a connection in TIME_WAIT."""


def quoted(said: bytes | str) -> str:
    """Return what a server said as a reason may repeat it: one line, printable, not too long."""
    text = said if isinstance(said, str) else said[: 4 * LONGEST_REASON].decode("utf-8", "replace")
    shown = printable(text.strip())
    return shown if len(shown) <= LONGEST_REASON else shown[: LONGEST_REASON - 1] + "…"


class Talk:
    """A connection to a server, open from ``async with`` on, and reset at its end.

    With ``tls``, over that. Every method raises OSError, and UnhealthyError where TLS fails, or
    after `MOST` bytes.
    """

    __slots__ = ("_loop", "_read", "_socket", "_target", "_tls", "_total")

    def __init__(self, target: Target, tls: Tls | None = None) -> None:
        family = socket.AF_INET if target.family == 4 else socket.AF_INET6
        self._target = target
        self._tls = None if tls is None else _Memory(tls, target)
        self._loop = asyncio.get_running_loop()
        self._read = bytearray()
        self._total = 0
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    async def __aenter__(self) -> Self:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            address = (self._target.address, self._target.port)
            await self._loop.sock_connect(self._socket, address)
            if self._tls is not None:
                await self._until_done(self._tls, self._tls.ssl.do_handshake)
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def say(self, data: bytes) -> None:
        """Send all of it, if there is anything."""
        if not data:
            return
        if self._tls is None:
            await self._loop.sock_sendall(self._socket, data)
        else:
            tls = self._tls.ssl
            await self._until_done(self._tls, lambda: tls.write(data))

    async def some(self) -> bytes:
        """Return what comes next, up to `PART` bytes; none when the server has closed."""
        if self._tls is None:
            return await self._receive()
        return await self._until_done(self._tls, self._tls.read)

    async def exactly(self, length: int) -> bytes:
        """Return the next so many bytes. Raise UnhealthyError if there are fewer."""
        while len(self._read) < length:
            await self._more()
        data = bytes(self._read[:length])
        del self._read[:length]
        return data

    async def line(self) -> bytes:
        """Return the next line, without its end. Raise UnhealthyError if there is none."""
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > LONGEST_LINE:
                raise UnhealthyError(f"a line without an end: {quoted(bytes(self._read))}")
            await self._more()
        data = bytes(self._read[:end])
        del self._read[: end + 1]
        return data.removesuffix(b"\r")

    async def finish(self) -> None:
        """Close our half, and wait for the server's, where it would note a reset in its log.

        The TIME_WAIT is then at this end.
        """
        with suppress(OSError, UnhealthyError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(FAREWELL_S):
                while await self._receive():
                    pass

    async def _more(self) -> None:
        data = await self.some()
        if not data:
            raise UnhealthyError(
                f"closed after {quoted(bytes(self._read))!r}"
                if self._read
                else "closed without an answer"
            )
        self._read += data

    async def _until_done(self, tls: _Memory, step: Callable[[], T]) -> T:
        """Do a step of TLS; send what it has to say, and read what it waits for."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush(tls)
            except ssl.SSLError as error:
                await self._flush(tls)
                raise UnhealthyError(f"TLS: {_reason(error)}") from error
            else:
                await self._flush(tls)
                return done
            tls.take(await self._receive())

    async def _receive(self) -> bytes:
        data = await self._loop.sock_recv(self._socket, PART)
        self._total += len(data)
        if self._total > MOST:
            raise UnhealthyError(f"more than {MOST >> 10} KiB, and no end")
        return data

    async def _flush(self, tls: _Memory) -> None:
        if data := tls.outgoing.read():
            await self._loop.sock_sendall(self._socket, data)


class _Memory:
    """TLS in memory: what came goes in by `take`, what is to go is in ``outgoing``."""

    __slots__ = ("_incoming", "outgoing", "ssl")

    def __init__(self, tls: Tls, target: Target) -> None:
        self._incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = tls.context.wrap_bio(
            self._incoming, self.outgoing, server_hostname=tls.server_name(target)
        )

    def read(self) -> bytes:
        """Return what was said, none at the end. Raise ssl.SSLError."""
        try:
            return self.ssl.read(PART)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def take(self, data: bytes) -> None:
        """Take in what the server sent; nothing means that it has closed."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLEOFError):
        return "closed within the handshake"
    return (error.reason or "the handshake failed").lower().replace("_", " ")
