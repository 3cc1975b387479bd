"""The daemon's end of the control socket.

Bounded are the length of a line, the time that a client may take to send and to read, and the
number of clients (`MAX_CLIENTS`): one more takes the place of the one that has kept us waiting
longest. The next line of an answer is asked for once the client has read the one before.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from lvsd.control import peers
from lvsd.control.protocol import MAX_CHANGE, MAX_REQUEST, Code, encode_error
from lvsd.control.stale import remove_stale
from lvsd.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lvsd.control.peers import Peer

MAX_CLIENTS = 32
"""The most clients at a time. One more takes an idle one's place, or is told that we are busy."""

CROWD = MAX_CLIENTS // 2
"""From this many on, clients that have hung up are looked for."""

PLACE_S = 1.0
"""How long a client that sends no request, or reads no answer, keeps its place."""

IDLE_S = 60.0
"""How long a client may take to send a whole request before it is disconnected."""

STALL_S = 30.0
"""How long a client may take to read an answer before it is cut off, at shutdown, too."""

BACKLOG = 128
"""How many clients may wait to be accepted, be it only to be told that the daemon is busy; one
more waits in connect(2)."""
FOR_GROUP, FOR_ALL = 0o660, 0o666
"""The socket's mode; who may connect may read."""

SOCKET_UMASK = 0o117  # rw for owner and group: mode 0660
DIRECTORY_MODE = 0o755

_log = structlog.get_logger(__name__)


class ControlServer:
    """Serves the control protocol on a Unix stream socket.

    ``ask`` returns the lines that answer a peer's line; an iterator that is not read to its end is
    closed. ``for_all``: everybody may connect, otherwise only root, and the group lvsd if there is
    one.
    """

    def __init__(
        self,
        ask: Callable[[bytes, Peer], AsyncGenerator[bytes]],
        path: Path,
        *,
        for_all: bool = False,
    ) -> None:
        self.path = path
        self._ask = ask
        self._mode = FOR_ALL if for_all else FOR_GROUP
        self._server: asyncio.AbstractServer | None = None
        self._listener: socket.socket | None = None
        self._clients: dict[asyncio.Task[None], float | None] = {}
        """When it began to keep us waiting, on the loop's clock; None while we serve it."""
        self._sockets: dict[asyncio.Task[None], socket.socket] = {}
        self._inode: int | None = None
        self._cut_off = self._gave_way = 0

    def counters(self) -> dict[str, int]:
        """Return how many clients were cut off: they read no answer, or had to make room."""
        return {"cut_off": self._cut_off, "gave_way": self._gave_way}

    @property
    def descriptor(self) -> int:
        """The socket that clients connect to, -1 before `start`."""
        return -1 if self._listener is None else self._listener.fileno()

    @property
    def busy(self) -> int:
        """How many clients wait for an answer, or for events."""
        return sum(since is None for since in self._clients.values())

    def asking(self) -> socket.socket:
        """Return the connection of the client whose request is being answered by this task."""
        return self._sockets[asyncio.current_task()]  # type: ignore[index]  # a client's task

    def take_over(self, descriptor: int) -> None:
        """Have a socket that is open already: `start` serves it, and `stop` removes it."""
        with suppress(OSError):  # somebody removed it: nobody new can connect
            self._inode = self.path.stat().st_ino
        self._listener = socket.socket(fileno=descriptor)

    async def start(self) -> None:
        """Listen. A socket that a dead daemon left is replaced.

        Raise KernelError if another daemon lives there or the path cannot be had, its kind
        `PrivilegeError` without permission.
        """
        try:
            listener = self._listener or self._bind()
        except PermissionError as error:
            raise PrivilegeError(
                f"listen on {self.path}", error, "start lvsd as root or set daemon.control"
            ) from error
        except OSError as error:
            raise KernelError(
                f"listen on {self.path}", error, "set daemon.control to another path"
            ) from error
        self._listener = listener
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
        elif self._listener is not None:
            self._listener.close()
        self._listener = None
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
            group = peers.group()
            if group is not None:
                os.chown(self.path, -1, group)
            self.path.chmod(self._mode)
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
        self._end_those_who_left()
        has_place = len(self._clients) < MAX_CLIENTS or self._make_room()
        self._clients[task] = None
        self._sockets[task] = writer.get_extra_info("socket")
        try:
            if has_place:
                await self._converse(task, reader, writer)
            else:
                writer.write(encode_error(Code.BUSY, f"busy with {MAX_CLIENTS} others; try again"))
            writer.close()
            await self._taken(task, writer.wait_closed())  # until then there is a socket open
        except _StalledError:
            self._cut_off += 1
            if self._cut_off == 1:
                _log.warning("a client of the control socket took no answer and was cut off")
            writer.transport.abort()
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._clients.pop(task, None)
            self._sockets.pop(task, None)

    def _end_those_who_left(self) -> None:
        """If there are many clients, drop those that have hung up.

        Who listens for changes is written to, and missed, only when there is something to tell.
        """
        if len(self._clients) < CROWD:
            return
        for task, since in self._clients.items():
            if since is None and task in self._sockets and _has_hung_up(self._sockets[task]):
                task.cancel()

    def _make_room(self) -> bool:
        """Disconnect the client that has kept us waiting longest; return whether there was one."""
        latest = asyncio.get_running_loop().time() - PLACE_S
        waited = {
            task: since
            for task, since in self._clients.items()
            if since is not None and since <= latest
        }
        if not waited:
            return False
        longest = min(waited, key=waited.__getitem__)
        del self._clients[longest]
        longest.cancel()
        self._gave_way += 1
        if self._gave_way == 1:
            what = "a client of the control socket that did nothing gave way to another"
            _log.warning(what, clients=MAX_CLIENTS)
        return True

    @asynccontextmanager
    async def _waiting_for(self, task: asyncio.Task[None], at_most_s: float) -> AsyncIterator[None]:
        """Wait for a client in the block. Raise TimeoutError when that takes too long."""
        self._clients[task] = asyncio.get_running_loop().time()
        async with asyncio.timeout(at_most_s):
            yield
        if task in self._clients:
            self._clients[task] = None

    async def _converse(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Answer one request after the other until the client has no more."""
        peer = peers.peer_of(writer.get_extra_info("socket"))
        most = MAX_CHANGE if peer.may_change else MAX_REQUEST
        while True:
            try:
                async with self._waiting_for(task, IDLE_S):
                    line = await _line(reader, most)
            except ValueError:
                writer.write(encode_error(Code.BAD_REQUEST, f"a request has at most {most} bytes"))
                return
            if not line:
                return
            async with aclosing(self._ask(line, peer)) as lines:
                async for each in lines:
                    await self._send(task, writer, each)

    async def _send(
        self, task: asyncio.Task[None], writer: asyncio.StreamWriter, line: bytes
    ) -> None:
        """Send a line; raise _StalledError if nobody reads it, ConnectionError without a client."""
        if writer.is_closing():  # uvloop raises RuntimeError for that
            raise ConnectionResetError("the client hung up")
        writer.write(line)
        await self._taken(task, writer.drain())

    async def _taken(self, task: asyncio.Task[None], taking: Awaitable[None]) -> None:
        """Wait until a client has read what it was sent. Raise _StalledError."""
        try:
            async with self._waiting_for(task, STALL_S):
                await taking
        except TimeoutError as error:
            raise _StalledError from error


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the client has closed its end; one that only sends no more has not."""
    poll = select.poll()
    with suppress(OSError, ValueError):  # ours is closed, too
        poll.register(connection.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
    return False


class _StalledError(Exception):
    """A client does not read its answer."""


async def _line(reader: asyncio.StreamReader, most: int) -> bytes:
    """Return the next line, or what there is before the end.

    The reader's own limit is what it holds at a time; a longer line is taken out in parts. Raise
    ValueError if it is too long, after all of it: whoever writes on would not hear why.
    """
    parts: list[bytes] = []
    length = 0
    while True:
        try:
            parts.append(await reader.readuntil())
            break
        except asyncio.IncompleteReadError as error:
            parts.append(error.partial)
            break
        except asyncio.LimitOverrunError as error:
            part = await reader.readexactly(error.consumed)
            length += len(part)
            if length > most:
                parts.clear()
            else:
                parts.append(part)
    if length > most:
        raise ValueError(f"longer than {most} bytes")
    return b"".join(parts)
