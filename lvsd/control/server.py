"""The daemon's end of the control socket.

A line has a length, a client a time to speak and to listen, and there are at most `MAX_CLIENTS` of
them. Who answers is asked for the next line when the client has taken the one before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from lvsd.control.protocol import MAX_REQUEST, Code, encode_error
from lvsd.control.stale import remove_stale
from lvsd.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

MAX_CLIENTS = 32
"""Clients at a time; one more is told that the daemon is busy."""

IDLE_S = 60.0
"""A client that has not sent a whole request for so long is let go."""

STALL_S = 30.0
"""A client that has not taken what it asked for after so long is cut off."""

BACKLOG = 128
"""Clients that may wait until they are accepted, be it to be told that the daemon is busy; one
more waits in connect(2)."""
SOCKET_UMASK = 0o117  # rw for owner and group: mode 0660
DIRECTORY_MODE = 0o755

_log = structlog.get_logger(__name__)


class ControlServer:
    """Serves the control protocol on a Unix stream socket, mode 0660.

    ``ask`` gives the lines that answer a line; an iterator that is left before its end is closed.
    """

    def __init__(self, ask: Callable[[bytes], AsyncGenerator[bytes]], path: Path) -> None:
        self.path = path
        self._ask = ask
        self._server: asyncio.AbstractServer | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._inode: int | None = None

    async def start(self) -> None:
        """Listen. A socket that a dead daemon left is replaced.

        Raise KernelError if another daemon lives there or the path cannot be had, its kind
        `PrivilegeError` without permission.
        """
        try:
            listener = self._bind()
        except PermissionError as error:
            raise PrivilegeError(
                f"listen on {self.path}", error, "start lvsd as root or set daemon.control"
            ) from error
        except OSError as error:
            raise KernelError(
                f"listen on {self.path}", error, "set daemon.control to another path"
            ) from error
        self._server = await asyncio.start_unix_server(
            self._client, sock=listener, limit=MAX_REQUEST, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Hang up on everybody and remove the socket, unless it is another's by now.

        One that cannot be removed is said; the next daemon replaces it if it can.
        """
        if self._server is not None:
            self._server.close()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None
        if self._inode is None:
            return
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("left behind", what=f"the control socket {self.path}: {error.strerror}")

    # --- the socket -------------------------------------------------------------------------

    def _bind(self) -> socket.socket:
        self.path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        remove_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(SOCKET_UMASK)
        try:
            listener.bind(str(self.path))
            self._inode = self.path.stat().st_ino
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(umask)
        return listener

    # --- clients ----------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a client is served by a task")
        busy = len(self._clients) >= MAX_CLIENTS
        self._clients.add(task)
        try:
            if busy:
                writer.write(encode_error(Code.BUSY, f"busy with {MAX_CLIENTS} others; try again"))
            else:
                await self._converse(reader, writer)
            writer.close()
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._clients.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until the client has no more."""
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
            except ValueError:
                writer.write(encode_error(Code.BAD_REQUEST, f"a request has {MAX_REQUEST} bytes"))
                return
            if not line:
                return
            await self._answer(line, writer)

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        async with aclosing(self._ask(line)) as lines:
            async for each in lines:
                await _send(writer, each)


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Send a line; raise TimeoutError if nobody reads it, ConnectionError if the client is gone."""
    if writer.is_closing():  # uvloop raises RuntimeError for that
        raise ConnectionResetError("the client hung up")
    writer.write(line)
    async with asyncio.timeout(STALL_S):
        await writer.drain()
