"""The client's end of the control socket for programs on asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from lvsd.control.client import MORE, joined, refusal, refused
from lvsd.control.protocol import NOTHING, decode, encode_line
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from lvsd.control.protocol import Answer

LONGEST_LINE: Final = 64 << 20
"""Bytes of one line of an answer; lvsd's own are far shorter."""


class AsyncControlClient:
    """A connection to a running daemon; an async context manager. One call at a time.

    One that waits for `events` takes no other call: have two of them.

    Raise `ControlError`, one line with the remedy in it, where nobody can be reached.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_connected = self._listens = False
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(
                self._path, limit=LONGEST_LINE
            )
        except OSError as error:
            raise ControlError(refusal(self._path, error)) from error
        self._is_connected = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    async def call(self, method: str, **params: object) -> Any:
        """Return the result of a method, a list whole. Raise `ControlError` with a refusal.

        ``subscribe`` never ends: see `events`.
        """
        return joined([each["result"] async for each in self._answers(method, params)])

    async def items(self, method: str, **params: object) -> list[Any]:
        """Return the items of a method that answers with a list. Raise `ControlError`."""
        found: list[Any] = []
        async for answer in self._answers(method, params):
            found += answer["result"] or ()
        return found

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield changes as they happen, after a ``listening`` that says that the daemon listens.

        Raise `ControlError` with its refusal, and where it hangs up.
        """
        async for answer in self._answers("subscribe", {}):
            if answer["result"]["change"] != NOTHING:
                yield answer["result"]

    async def _answers(self, method: str, params: dict[str, object]) -> AsyncIterator[Answer]:
        more = True
        if self._listens:
            raise ControlError("this client waits for events: ask by another one")
        if not self._is_connected:
            raise ControlError("not connected: use it by `async with AsyncControlClient(path)`")
        self._listens = method == "subscribe"
        try:
            self._writer.write(encode_line({"method": method, "params": params}))
            while more:
                line = await self._reader.readline()
                if not line.endswith(b"\n"):
                    raise ControlError(f"lvsd hung up on {self._path}; its log may say why")
                more = line.endswith(MORE)
                answer: Answer = decode(line)
                if "error" in answer:
                    self._listens = False
                    raise refused(answer["error"]["code"], answer["error"]["message"])
                yield answer
        except OSError as error:
            raise ControlError(refusal(self._path, error)) from error
