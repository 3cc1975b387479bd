"""A web server that behaves as a file says, from one connection to the next.

    liar.py PORT NAME FILE

The file holds a word: ``200``, ``503``, ``slow`` (the answer takes 30 s), ``silent`` (it never
comes), ``garbage``, ``reset``, ``endless`` (headers without end).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from pathlib import Path

PORT, NAME, FILE = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
NEVER_S = 3600.0
RESET = struct.pack("ii", 1, 0)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        match FILE.read_text("ascii"):  # noqa: ASYNC240 - one word
            case "slow":
                await asyncio.sleep(30.0)
                writer.write(answer("200", writer))
            case "silent":
                await asyncio.sleep(NEVER_S)
            case "garbage":
                writer.write(bytes(range(256)) * 16)
            case "reset":
                ours = writer.get_extra_info("socket")
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    writer.write(b"X-More: and more\r\n" * 1000)
                    await writer.drain()
            case status:
                writer.write(answer(status, writer))
        writer.close()


def answer(status: str, writer: asyncio.StreamWriter) -> bytes:
    """Return an answer that says who we are, and who asks."""
    body = f"{NAME} {writer.get_extra_info('peername')[0]}"
    head = f"HTTP/1.1 {status} So\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return f"{head}{body}".encode()


async def main() -> None:
    """Serve on IPv4 and IPv6."""
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(serve, sock=listener)
    async with server:
        await server.serve_forever()


asyncio.run(main())
