"""The socket pair between the supervisor and an engine: plain values, one after the other.

A frame is its length, 4 bytes in network order, and so many bytes. The first one from either side
is a `Hello` as JSON, which any version can read; an end that hears another version than its own
closes. Then follow values of the classes that both ends name, pickled: between two processes of one
installation there is no format to keep, only one to check. What is not of these classes, or no
pickle at all, ends the wire with a clear reason. Nothing here is for a network.

Neither end waits for the other: what does not fit into the socket waits here, and the sender is
told how much that is. What comes in is handed on for a slice of a turn at a time.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections import deque
from dataclasses import fields, is_dataclass
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from lvsd import __version__
from lvsd.errors import WireError
from lvsd.turns import SLICE_S

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Iterable, Iterator

LONGEST: Final = 64 << 20
"""A frame of more bytes than this is none of our messages."""

READ_AT_ONCE: Final = 256 << 10

SHORT_OF_MEMORY_S: Final = 0.1
"""How long to wait, in seconds, before reading again where there is no memory for what comes."""

_LENGTH_BYTES: Final = 4

_Reducer: TypeAlias = "Callable[[Any], tuple[type, tuple[object, ...]]]"


class Hello(NamedTuple):
    """What each end says first."""

    version: str
    process: int


class Wire:
    """One end of the socket pair, on an event loop.

    ``receive`` is called with each message of the other end. Where it takes its time, it returns
    the steps, which are done before the next message, with turns of packets between. ``ended`` is
    called once: with None when the other end has closed, else with what was wrong. ``classes`` are
    those that messages are made of, beside Python's plain values.
    """

    def __init__(
        self,
        end: socket.socket,
        classes: Iterable[type],
        receive: Callable[[object], Iterator[None] | None],
        ended: Callable[[WireError | None], None],
    ) -> None:
        self._socket = end
        self._classes = {(each.__module__, each.__qualname__): each for each in classes}
        self._receive = receive
        self._ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: Iterator[None] = iter(())
        """What is left to do of the last message."""
        self._read = bytearray()
        self._unread = 0
        self._waiting: deque[memoryview] = deque()
        self.waiting_bytes = 0
        """How much waits to be sent, in bytes."""
        self._is_blocked = False
        self.slice_s: Callable[[], float] = lambda: SLICE_S
        """How long messages are handed on before others have a turn, in seconds, each time."""
        self.peer: Hello | None = None
        """Who the other end is, once it has said so."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say hello, and listen."""
        self._loop = loop
        self._socket.setblocking(False)
        loop.add_reader(self._socket.fileno(), self._readable)
        self._send(json.dumps({"version": __version__, "process": os.getpid()}).encode())

    def close(self) -> None:
        """Hang up. What still waits is not sent. Harmless when done twice."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None
            self._socket.close()
            self._waiting.clear()
            self.waiting_bytes = 0

    @property
    def descriptor(self) -> int:
        """The socket's, for the process that goes on with it."""
        return self._socket.fileno()

    # --- out ------------------------------------------------------------------------------------

    def send(self, message: object) -> None:
        """Send a message, now or when there is room for it. Nothing happens on a closed wire."""
        self._send(_dumped(message))

    def _send(self, body: bytes) -> None:
        if self._loop is None:
            return
        frame = memoryview(_framed(body))
        self._waiting.append(frame)
        self.waiting_bytes += len(frame)
        self._writable()

    def _writable(self) -> None:
        """Send what waits, as far as there is room."""
        if self._loop is None:
            return
        try:
            while self._waiting:
                frame = self._waiting[0]
                sent = self._socket.send(frame)
                self.waiting_bytes -= sent
                if sent < len(frame):
                    self._waiting[0] = frame[sent:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            self._call_when_writable(is_wanted=True)
        except OSError:
            self._end(None)  # the other end is gone
        else:
            self._call_when_writable(is_wanted=False)

    def _call_when_writable(self, *, is_wanted: bool) -> None:
        if self._loop is None or self._is_blocked == is_wanted:
            return
        self._is_blocked = is_wanted
        if is_wanted:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._socket.fileno())

    # --- in -------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._loop is None:
            return
        try:
            data = self._socket.recv(READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        except MemoryError:
            # The loop would call us again at once, and again.
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(SHORT_OF_MEMORY_S, self._resume)
            raise
        if data:
            self._read += data
            self._hand_on()
        else:
            broken = self._read and WireError("the other end broke off within a message")
            self._end(broken or None)

    def _hand_on(self) -> None:
        """Hand on the messages that have come, for a slice of time; the rest comes next turn."""
        enough = perf_counter() + self.slice_s()
        try:
            for _ in self._handing_on():
                if self._loop is None:
                    return
                if perf_counter() >= enough:
                    self._pause()
                    return
        except WireError as error:
            self._end(error)
        except Exception:
            self._pause()  # what came after it is handed on all the same
            raise

    def _handing_on(self) -> Iterator[None]:
        """Do what is left of the last message; then hand on the others that are there."""
        while self._loop is not None:
            for _ in self._steps:  # not `yield from`, which ends them where this ends for now
                yield
            body = self._next()
            if body is None:
                return
            if self.peer is None:
                self.peer = _hello(body)
            else:
                self._steps = iter(self._receive(self._loaded(body)) or ())
            yield

    def _pause(self) -> None:
        """Read no more until what has come is handed on."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._loop is not None:
            self._loop.add_reader(self._socket.fileno(), self._readable)
            self._hand_on()

    def _next(self) -> bytes | None:
        """Take the next whole frame's body out of what has come. Raise WireError."""
        start = self._unread + _LENGTH_BYTES
        length = int.from_bytes(self._read[self._unread : start], "big")
        if length > LONGEST:
            raise WireError(f"a message of {length} bytes, expected {LONGEST} at most")
        if len(self._read) < start or len(self._read) < start + length:
            del self._read[: self._unread]
            self._unread = 0
            return None
        self._unread = start + length
        return bytes(self._read[start : self._unread])

    def _loaded(self, body: bytes) -> object:
        """Return the message in a frame. Raise WireError where it is none."""
        try:
            return _Unpickler(body, self._classes).load()
        except WireError:
            raise
        except Exception as error:
            # Whatever bytes there are, unpickling them may raise anything.
            raise WireError(f"what came is no message: {type(error).__name__}: {error}") from error

    def _end(self, error: WireError | None) -> None:
        if self._loop is not None:
            self.close()
            self._ended(error)


def frame(message: object) -> bytes:
    """Return the bytes that a message is on the wire, for somebody else to send."""
    return _framed(_dumped(message))


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def _hello(body: bytes) -> Hello:
    """Return what the other end says of itself. Raise WireError where it is not of our version."""
    try:
        said = json.loads(body)
        hello = Hello(str(said["version"]), int(said["process"]))
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise WireError("the other end does not say which version it is") from error
    if hello.version != __version__:
        raise WireError(f"the other end is lvsd {hello.version}, this one is {__version__}")
    return hello


class _Reducers(dict[type, _Reducer]):
    """By class how its objects are pickled, for dataclasses: by a call with their fields.

    Frozen ones with slots would look up their fields for each object, at both ends, which was two
    thirds of the time that commands took on the wire.
    """

    def __missing__(self, kind: type) -> _Reducer:
        """Return what reduces an object of a class seen for the first time, or raise KeyError."""
        if not is_dataclass(kind) or not all(field.init for field in fields(kind)):
            raise KeyError(kind)
        names = [field.name for field in fields(kind)]
        get = attrgetter(*names) if names else None
        is_single = len(names) == 1

        def reduce(each: Any) -> tuple[type, tuple[object, ...]]:
            if get is None:
                return kind, ()
            return kind, (get(each),) if is_single else get(each)

        self[kind] = reduce
        return reduce


_REDUCERS: Final = _Reducers()


def _dumped(message: object) -> bytes:
    body = io.BytesIO()
    pickler = pickle.Pickler(body, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(message)
    return body.getvalue()


class _Unpickler(pickle.Unpickler):
    """Makes nothing but plain values and objects of certain classes."""

    def __init__(self, body: bytes, classes: dict[tuple[str, str], type]) -> None:
        super().__init__(io.BytesIO(body))
        self._classes = classes

    def find_class(self, module: str, name: str) -> type:
        """Return a class that a message names. Raise WireError unless it is a known one."""
        try:
            return self._classes[module, name]
        except KeyError:
            raise WireError(f"a message names {module}.{name}, which is none of ours") from None
