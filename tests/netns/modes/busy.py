"""Connections that are never idle, and what became of them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from lvsd.lab.wait import until
from tests.netns.traffic.site import PATIENCE_S, SOCKET_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.netns.traffic.site import Family, Site

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OPEN = "open"


class Busy:
    """Keeps asking on so many connections to each of the virtual web sites while the block runs.

    All of them had an answer when the block begins. They are in a thread of their own.
    """

    def __init__(self, site: Site, where: Iterable[tuple[Family, int]], number: int) -> None:
        self._stop = threading.Event()
        self._answers: list[int] = []
        self.ends: Counter[str] = Counter()
        """How connections ended, by errno's name; those that did not are `OPEN`."""
        self._socks = []
        with site.lab.client.entered():
            for family, port in where:
                for _ in range(number):
                    sock = socket.socket(SOCKET_FAMILIES[family])
                    sock.setblocking(False)
                    self._socks.append((sock, (site.vip(family), port)))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def number(self) -> int:
        """How many connections there are."""
        return len(self._socks)

    @property
    def answers(self) -> int:
        """How many answers there have been by now, over all connections."""
        return sum(self._answers)

    def __enter__(self) -> Self:
        """Connect. Fail if not every connection gets its first answer."""
        self._answers = [0] * self.number
        self._thread.start()
        assert until(lambda: all(self._answers), 3 * PATIENCE_S), self.ends
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let every connection have one more answer, and close them all."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(
            *(self._ask(index, sock, vip) for index, (sock, vip) in enumerate(self._socks))
        )

    async def _ask(self, index: int, sock: socket.socket, vip: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await loop.sock_connect(sock, vip)
            last = False
            while not last:
                last = self._stop.is_set()
                async with asyncio.timeout(PATIENCE_S):
                    await loop.sock_sendall(sock, REQUEST)
                    await self._answer(sock)
                self._answers[index] += 1
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            self.ends[type(error).__name__] += 1
        else:
            self.ends[OPEN] += 1
        finally:
            sock.close()

    @staticmethod
    async def _answer(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        answer = b""
        while not (answer.endswith(b"\n") and b"\r\n\r\n" in answer[:-2]):
            data = await loop.sock_recv(sock, 4096)
            if not data:
                raise EOFError
            answer += data
