"""The client's end of the control socket: blocking, for lvsadm and for scripts."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lvsd.control.protocol import NOTHING, Code, decode, decode_quickly, encode_line
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from lvsd.control.protocol import Answer

DEFAULT_PATH = Path("/run/lvsd/control.sock")
PATH_VARIABLE = "LVSD_CONTROL"
"""An environment variable that names another socket."""

TIMEOUT_S = 30.0
"""How long a daemon under full load may take to accept, and for the next line of its answer."""

MORE: Final = b',"more":true}\n'
"""The end of each line of a list but the last."""

_TIMEVAL: Final = struct.Struct("@ll")
_UCRED: Final = struct.Struct("@iII")
"""Process, user and group at the other end (unix(7), SO_PEERCRED)."""


def default_path() -> Path:
    """Return the socket to use when none is named."""
    return Path(os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)


class ControlClient:
    """A connection to a running daemon; a context manager.

    Raise `ControlError`, one line with the remedy in it, where nobody can be reached.
    """

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._listens = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect()
        except OSError as error:
            self._socket.close()
            raise ControlError(self._reason(error)) from error
        self._socket.settimeout(timeout_s)
        self._lines = self._socket.makefile("rb")

    def _connect(self) -> None:
        """Connect; wait while others fill the listener's backlog. Raise OSError.

        Only a blocking socket waits for that (unix_stream_connect): Python's own timeout would
        make it one that does not block, which is told EAGAIN at once.
        """
        whole_s, rest_s = divmod(self._timeout_s, 1.0)
        timeout = _TIMEVAL.pack(int(whole_s), max(int(rest_s * 1e6), 1))  # all zero is for ever
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._socket.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    @property
    def daemon_pid(self) -> int:
        """The process that listens; 0 where this one's pid namespace does not show it."""
        peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid: int = _UCRED.unpack(peer)[0]
        return pid

    def call(self, method: str, **params: object) -> Any:
        """Return the result of a method, a list whole. Raise `ControlError` with a refusal.

        ``subscribe`` never ends: see `events`.
        """
        return joined([each["result"] for each in self._answers(method, params)])

    def items(self, method: str, **params: object) -> Iterator[Any]:
        """Return the items of a method that answers with a list.

        The whole answer is taken off the socket before the first item comes out, so that
        whoever prints them, into a pager perhaps, never keeps the daemon waiting, and nothing
        is printed of a list that broke off. Raise `ControlError` with the daemon's refusal.
        """
        lines = list(self._raw_answers(method, params))
        self._parse(lines[-1])
        read = decode if len(lines) == 1 else decode_quickly
        return (item for line in lines for item in read(line)["result"] or ())

    def events(self) -> Iterator[dict[str, Any]]:
        """Return an iterator of changes from now on, as they happen, and of ``lost`` ones.

        The daemon listens for us when this returns; that is what ``listening`` would tell. Raise
        `ControlError` with its refusal, and where it hangs up.
        """
        answers = self._answers("subscribe", {})
        next(answers)
        self._listens = True
        self._socket.settimeout(None)
        events = (each["result"] for each in answers)
        return (each for each in events if each["change"] != NOTHING)

    def _answers(self, method: str, params: dict[str, object]) -> Iterator[Answer]:
        return map(self._parse, self._raw_answers(method, params))

    def _raw_answers(self, method: str, params: dict[str, object]) -> Iterator[bytes]:
        """Send a request; yield the answer's lines, without parsing those that say more."""
        if self._listens:
            raise ControlError("this client waits for events: ask by another one")
        try:
            with suppress(BrokenPipeError):  # it says why it hung up before it does
                self._socket.sendall(encode_line({"method": method, "params": params}))
            while True:
                line = self._lines.readline()
                if not line.endswith(b"\n"):
                    raise ControlError(f"lvsd hung up on {self._path}; its log may say why")
                yield line
                if not line.endswith(MORE):
                    return
        except OSError as error:
            raise ControlError(self._reason(error)) from error

    @staticmethod
    def _parse(line: bytes) -> Answer:
        answer: Answer = decode(line)
        if "error" in answer:
            error = answer["error"]
            told = error["code"] in {Code.REFUSED, Code.FORBIDDEN}
            raise refused(error["code"], error["message"] if told else f"lvsd: {error['message']}")
        return answer

    def _reason(self, error: OSError) -> str:
        return refusal(self._path, error, self._timeout_s)


def joined(results: list[Any]) -> Any:
    """Return the result of a method; a list comes in parts, of which the last may be None."""
    if len(results) == 1:
        return results[0]
    return [item for part in results for item in part or ()]


def refused(code: str, message: str) -> ControlError:
    """Return the error of an answer."""
    error = ControlError(message)
    error.code = code
    return error


def refusal(path: Path, error: OSError, timeout_s: float = TIMEOUT_S) -> str:
    """Say why the daemon cannot be reached, and what to do about it."""
    match error:
        case FileNotFoundError():
            return (
                f"lvsd is not running: no socket {path}; "
                "start it, or give its socket with --control PATH"
            )
        case ConnectionRefusedError():
            return f"lvsd is not running: nobody listens on {path}; start it"
        case PermissionError():
            return f"Permission denied (you must be root) to use {path}"
        case BlockingIOError():
            return (
                f"lvsd did not accept on {path} within {timeout_s:g} s: "
                "more clients wait than it serves; end some, or see its log"
            )
        case TimeoutError():
            return f"lvsd does not answer on {path} within {timeout_s:g} s"
        case ConnectionError():
            return f"lvsd hung up on {path}; its log may say why"
        case _:
            return f"cannot reach lvsd on {path}: {error.strerror or error}"
