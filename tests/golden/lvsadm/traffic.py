"""A client, a director and real servers out of namespaces, and what is said between them.

Usage, in a kernel of its own, where `record.py` starts it: ``traffic.py serve``, or ``traffic.py
client EXCHANGES``. Both say that they are ready, and end with their input.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Exchange: TypeAlias = tuple[str, str, int, int, str]
"""Protocol, address, port, firewall mark, and how it ends: hold, close or refused."""

NETWORK = """
link set lo up
netns add cl
netns add rs
link add cl0 type veth peer name eth0 netns cl
link add rs0 type veth peer name eth0 netns rs
addr add 198.51.100.1/24 dev cl0
addr add 2001:db8:1::1/64 dev cl0 nodad
addr add 10.0.0.1/24 dev rs0
addr add 2001:db8:2::1/64 dev rs0 nodad
addr add 192.0.2.10/32 dev lo
addr add 192.0.2.11/32 dev lo
addr add 192.0.2.12/32 dev lo
addr add 192.0.2.13/32 dev lo
addr add 2001:db8::10/128 dev lo nodad
addr add 2001:db8::13/128 dev lo nodad
link set cl0 up
link set rs0 up
-n cl link set lo up
-n cl link set eth0 up
-n cl addr add 198.51.100.7/24 dev eth0
-n cl addr add 2001:db8:1::7/64 dev eth0 nodad
-n cl route add default via 198.51.100.1
-n cl route add default via 2001:db8:1::1
-n rs link set lo up
-n rs link set eth0 up
-n rs addr add 10.0.0.11/24 dev eth0
-n rs addr add 10.0.0.12/24 dev eth0
-n rs addr add 10.0.0.13/24 dev eth0
-n rs addr add 2001:db8:2::11/64 dev eth0 nodad
-n rs addr add 2001:db8:2::12/64 dev eth0 nodad
-n rs route add default via 10.0.0.1
-n rs route add default via 2001:db8:2::1
-n rs link add rc0 type veth peer name rc0 netns cl
-n rs link set rc0 up
-n rs link set tunl0 up
-n rs addr add 198.51.101.1/24 dev rc0
-n rs addr add 2001:db8:3::1/64 dev rc0 nodad
-n rs addr add 192.0.2.13/32 dev lo
-n rs addr add 2001:db8::13/128 dev lo nodad
-n cl link set rc0 up
-n cl addr add 198.51.101.7/24 dev rc0
-n cl addr add 2001:db8:3::7/64 dev rc0 nodad
-n cl route add 192.0.2.13/32 via 198.51.100.1 src 198.51.101.7
-n cl route add 2001:db8::13/128 via 2001:db8:1::1 src 2001:db8:3::7
"""
"""The client behind cl0, the real servers behind rs0. rc0 leads from those to the client past
the director, for replies of DR and TUN."""

FROM_CLIENT: list[Exchange] = [
    *[("tcp", "192.0.2.10", 80, 0, "hold")] * 2,
    ("tcp", "192.0.2.10", 80, 0, "refused"),
    *[("tcp", "192.0.2.10", 80, 0, "close")] * 2,
    *[("udp", "192.0.2.10", 53, 0, "hold")] * 3,
    ("tcp", "192.0.2.11", 8080, 0, "hold"),
    ("sctp", "192.0.2.10", 9, 0, "hold"),
    ("tcp", "2001:db8::10", 80, 0, "hold"),
    ("udp", "2001:db8::10", 53, 0, "hold"),
]
FROM_DIRECTOR: list[Exchange] = [
    ("tcp", "192.0.2.12", 8080, 7, "hold"),
    ("tcp", "2001:db8::10", 8080, 7, "hold"),
]
PAST_DIRECTOR: list[Exchange] = [
    *[("tcp", "192.0.2.13", 8080, 0, "hold")] * 2,
    *[("tcp", "192.0.2.13", 8080, 0, "close")] * 2,
    *[("udp", "192.0.2.13", 5353, 0, "hold")] * 2,
    ("tcp", "2001:db8::13", 8080, 0, "hold"),
]
"""Replies to these do not come back through the director."""

SERVERS = (
    ("tcp", "::", 8080),
    ("udp", "10.0.0.11", 5353),
    ("udp", "192.0.2.13", 5353),
    ("udp", "2001:db8:2::12", 5353),
    ("sctp", "10.0.0.11", 9),
)
KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}
FIRST_PORT = 40001
"""Of each client; one more per exchange."""


class Program:
    """This file as a program, in a namespace or in the director itself."""

    def __init__(self, namespace: str, *arguments: str) -> None:
        command = [sys.executable, __file__, *arguments]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        self._command = " ".join(command)
        self._process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._expect("ready")

    def go(self) -> None:
        """Let a client make its exchanges; return when they are made."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self._expect("done")

    def end(self) -> None:
        """End it; what it held open closes."""
        self._process.kill()
        self._process.wait()

    def _expect(self, word: str) -> None:
        assert self._process.stdout
        if self._process.stdout.readline() != f"{word}\n":
            raise SystemExit(f"{self._command}: not {word}")


def client(namespace: str, exchanges: Sequence[Exchange]) -> Program:
    """Start a client that is ready for its exchanges."""
    return Program(namespace, "client", json.dumps(exchanges))


def build() -> None:
    """Make the namespaces, and forward between them."""
    for line in NETWORK.strip().splitlines():
        subprocess.run(["ip", *line.split()], check=True)
    for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", key).write_text("1", encoding="ascii")


def _exchange(exchanges: Sequence[Exchange]) -> None:
    """Make each exchange once we are told to; keep open what is to be held."""
    _say("ready")
    sys.stdin.readline()
    held = []
    for index, (kind, address, port, mark, ending) in enumerate(exchanges):
        sock = _socket(kind, address)
        sock.settimeout(10)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.bind(("", FIRST_PORT + index))
        try:
            sock.connect((address, port))
            sock.send(b"x" * 100)
            sock.recv(4096)
        except ConnectionRefusedError:
            if ending != "refused":
                raise
        if ending == "hold":
            held.append(sock)
        else:
            sock.close()
    _say("done")
    sys.stdin.read()


def _serve() -> None:
    """Answer 1000 bytes to whatever comes."""
    for kind, address, port in SERVERS:
        sock = _socket(kind, address)
        sock.bind((address, port))
        if kind != "udp":
            sock.listen(64)
        target = _answer if kind == "udp" else _accept
        threading.Thread(target=target, args=(sock,), daemon=True).start()
    _say("ready")
    sys.stdin.read()


def _accept(listener: socket.socket) -> NoReturn:
    while True:
        threading.Thread(target=_answer, args=(listener.accept()[0],), daemon=True).start()


def _answer(sock: socket.socket) -> None:
    if sock.type == socket.SOCK_DGRAM:
        while True:
            sock.sendto(b"y" * 1000, sock.recvfrom(4096)[1])
    with contextlib.suppress(ConnectionResetError), sock:
        while sock.recv(4096):
            sock.send(b"y" * 1000)


def _socket(kind: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, *KINDS[kind])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            _serve()
        case ["client", exchanges]:
            _exchange(json.loads(exchanges))
