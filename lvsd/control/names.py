"""Addresses and ports to names and back, by the system's resolver, as ipvsadm does it."""

from __future__ import annotations

import socket
from functools import cache
from typing import NamedTuple

from lvsd.errors import UsageError

ENDPOINT_WIDTH = 59
"""ipvsadm cuts longer endpoints."""

MAX_PORT = 0xFFFF


class Names(NamedTuple):
    """Writes endpoints, by name where one is known unless ``numeric``."""

    numeric: bool

    def endpoint(self, address: str, port: int, protocol: str) -> str:
        """Return ``192.0.2.10:80``, ``[2001:db8::10]:80`` or the like with names."""
        is_ipv6 = ":" in address
        host = address if self.numeric else _host(address)
        service = str(port) if self.numeric else _service(port, protocol)
        return (f"[{host}]:{service}" if is_ipv6 else f"{host}:{service}")[:ENDPOINT_WIDTH]


@cache
def _host(address: str) -> str:
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return address


@cache
def _service(port: int, protocol: str) -> str:
    if protocol not in {"tcp", "udp", "sctp"}:
        return str(port)
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return str(port)


def parse_service(text: str, protocol: str) -> tuple[str, int]:
    """Return (address, port) of a service as typed; port 0 if none is.

    ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare ``IPV6``; HOST may be a name, PORT a
    service's. Raise UsageError if it is none of these.
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not port.startswith(":") or not _is_ipv6(host):
            raise UsageError(f"{text!r} is not [IPV6]:PORT")
        return _canonical(host), _port(port[1:], protocol)
    if _is_ipv6(text):
        return _canonical(text), 0
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "0"
    if not host or host.isdigit():
        raise UsageError(f"{text!r} is not ADDRESS[:PORT]")
    try:
        address = socket.gethostbyname(host)
    except OSError:
        raise UsageError(f"{host!r} is no address, and no name of one") from None
    return address, _port(port, protocol)


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    return True


def _canonical(address: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))


def _port(text: str, protocol: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= MAX_PORT:
        return int(text)
    try:
        return socket.getservbyname(text, protocol)
    except OSError:
        raise UsageError(f"{text!r} is no {protocol} port, and no name of one") from None
