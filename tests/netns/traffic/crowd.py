"""Many HTTP connections that are open at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from tests.netns.traffic.site import PATIENCE_S, SOCKET_FAMILIES

if TYPE_CHECKING:
    from tests.netns.traffic.site import Family, Site


async def crowd(site: Site, family: Family, port: int, number: int) -> tuple[int, list[str]]:
    """Open so many connections to the virtual web site, then ask for ``/`` on each of them.

    Return how many the daemon counted as active before the first request, and who answered.
    """
    with contextlib.ExitStack() as stack:
        with site.lab.client.entered():
            socks = [
                stack.enter_context(socket.socket(SOCKET_FAMILIES[family])) for _ in range(number)
            ]
        for sock in socks:
            sock.setblocking(False)
        address = site.vip(family), port
        await asyncio.gather(*(_connect(sock, address) for sock in socks))
        entry = await asyncio.to_thread(site.service, f"tcp-{port}-{family}")
        active = sum(server["active"] for server in entry["servers"])
        return active, await asyncio.gather(*map(_ask, socks))


async def _connect(sock: socket.socket, address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.wait_for(loop.sock_connect(sock, address), PATIENCE_S)


async def _ask(sock: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := await asyncio.wait_for(loop.sock_recv(sock, 4096), PATIENCE_S):
        answer += data
    return answer.rpartition(b"\r\n\r\n")[2].split()[0].decode()
