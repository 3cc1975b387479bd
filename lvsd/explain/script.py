"""What the client and the real server say to each other, packet by packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvsd.explain.stack import ACK, FIN, PSH, SYN
from lvsd.packet.numbers import UDP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.explain.model import Direction


class Line(NamedTuple):
    """One packet of the script: its title, who sends it, its flags and its payload."""

    title: str
    direction: Direction
    flags: int = 0
    payload: bytes = b""


def script(protocol: int, virtual: str, real: Callable[[], str]) -> Iterator[Line]:
    """Yield a question and its answer over UDP, or a whole TCP connection with one HTTP request.

    ``virtual`` is whom the client asks. ``real`` tells who answers, which nobody knows before the
    first packet.
    """
    if protocol == UDP:
        yield Line("question", "request", payload=b"who are you?")
        yield Line("answer", "reply", payload=f"I am {real()}".encode())
        return
    yield Line("SYN", "request", SYN)
    yield Line("SYN ACK", "reply", SYN | ACK)
    yield Line("ACK", "request", ACK)
    get = f"GET / HTTP/1.1\r\nHost: {virtual}\r\n\r\n"
    yield Line("HTTP request", "request", PSH | ACK, get.encode())
    body = f"I am {real()}\n"
    ok = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    yield Line("HTTP reply", "reply", PSH | ACK, ok.encode())
    yield Line("FIN from the client", "request", FIN | ACK)
    yield Line("FIN from the real server", "reply", FIN | ACK)
    yield Line("last ACK", "request", ACK)
