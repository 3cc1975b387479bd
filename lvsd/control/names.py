"""Addresses and ports to names and back, by the system's resolver, as ipvsadm does it."""

from __future__ import annotations

import re
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
        return f"[{host}]:{service}" if is_ipv6 else f"{host}:{service}"

    def cut(self, address: str, port: int, protocol: str) -> str:
        """Return an endpoint as long as ipvsadm's lists have it."""
        return self.endpoint(address, port, protocol)[:ENDPOINT_WIDTH]


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


def parse_service(text: str, protocol: str, default_port: int = 0) -> tuple[str, int]:
    """Return (address, port) of a service or real server as typed.

    ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare ``IPV6``; HOST may be a name, PORT a
    service's. Raise UsageError if it is none of these.
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not port.startswith(":") or not _is_ipv6(host):
            raise UsageError(f"{text!r} is not [IPV6]:PORT")
        return _canonical(host), _port(port[1:], protocol)
    if _is_ipv6(text):
        return _canonical(text), default_port
    host, colon, port = text.rpartition(":")
    if not colon:
        host = text
    if not host or host.isdigit():
        raise UsageError(f"{text!r} is not ADDRESS[:PORT]")
    return _resolved(host), _port(port, protocol) if colon else default_port


def parse_netmask(text: str, family: int) -> int:
    """Return the length of a persistence netmask as typed: an IPv4 mask, or IPv6's length itself.

    Raise UsageError if it is none, or has holes.
    """
    if family == 6:
        length = whole(text, 1, 128)
        if length is None:
            raise UsageError("illegal ipv6 netmask specified")
        return length
    illegal = "illegal virtual server persistent mask specified"
    try:
        mask = int.from_bytes(socket.inet_aton(text), "big")
    except OSError:
        raise UsageError(illegal) from None
    length = mask.bit_count()
    if not mask or mask != (0xFFFFFFFF << 32 - length) & 0xFFFFFFFF:
        written = ".".join(map(str, mask.to_bytes(4, "big")))
        raise UsageError(f"{illegal}: {written} is no network's, such as 255.255.255.0")
    return length


def parse_address(text: str) -> str:
    """Return an address as typed, in its short form. Raise UsageError if it is none."""
    if _is_ipv6(text):
        return _canonical(text)
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
    except OSError:
        raise UsageError(f"{text!r} is no address") from None


def whole(text: str, low: int, high: int) -> int | None:
    """Return a decimal number as strtol(3) reads it; None if it is none from low to high."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if low <= number <= high else None


_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,20}", re.ASCII)


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError):
        raise UsageError(f"{host!r} is no address, and no name of one") from None


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True


def _canonical(address: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))


def _port(text: str, protocol: str) -> int:
    port = whole(text, 0, MAX_PORT)
    if port is not None:
        return port
    try:
        return socket.getservbyname(text, protocol)
    except (OSError, ValueError):
        raise UsageError(f"{text!r} is no {protocol} port, and no name of one") from None
