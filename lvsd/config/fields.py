"""Values of single keys: from what TOML holds to what the daemon works with.

Each function takes whatever stands in the file and returns the value, or raises ValueError
with the whole message: what was wrong, what was expected.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, NamedTuple

import schedulers
from forwarders import FORWARDERS
from lvsd.config import plugins
from lvsd.config.faults import kind, one_of, shown, unknown
from lvsd.errors import PluginError
from lvsd.packet.address import endpoint as endpoint_text
from lvsd.packet.address import parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from schedulers.base import Scheduler

ENDPOINT = "an address and port such as 192.0.2.10:80 or [2001:db8::10]:80"

MAX_NAME = 64
"""Characters of the name of a service."""

NAME = f"a name of 1 to {MAX_NAME} printable characters"

MAX_SOCKET_PATH = 107
"""Bytes that a Unix socket's path may have (unix(7): 108 with the final zero)."""

MAX_INTERFACE_NAME = 15
"""Bytes that an interface's name may have (IFNAMSIZ without the final zero)."""

ADDRESS = "an address without a port such as 10.0.1.5 or 2001:db8:1::5"

ADDRESSES = "a list of addresses of this host, without ports"

PORTS = "a range of ports LOW-HIGH within 1-65535, such as 1025-65535"

TOA_KIND = "a kind of TCP option, from 9 to 255, that nothing else uses"

FLAGS = "a list of the scheduler's flags"

KINDS_IN_USE = frozenset({*range(9), 19, 29, 30, 34, 172, 174})
"""Kinds of TCP options that hosts send for their own purposes (IANA, tcp-parameters).

0 to 8: the basic ones, up to timestamps; then MD5, TCP-AO, MPTCP, Fast Open and accurate ECN.
"""


_PORT_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)


class Endpoint(NamedTuple):
    """An address, packed (4 or 16 bytes), and a port in host order (0: any)."""

    address: bytes
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if len(self.address) == 4 else 6

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


class PortRange(NamedTuple):
    """Ports from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


def whole(low: int, high: int, expected: str) -> Callable[[object], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read(value: object) -> int:
        if type(value) is not int:
            raise ValueError(f"{kind(value)}, expected {expected}")
        if not low <= value <= high:
            size = "small" if value < low else "large"
            raise ValueError(f"{shown(value)} is too {size}, expected {expected}")
        return value

    return read


def choice(*words: str) -> Callable[[object], str]:
    """Return a reader of one of these words."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is unknown, expected one of: {', '.join(words)}")  # noqa: TRY004 - its only error
        if value not in words:
            raise ValueError(unknown(value, words))
        return value

    return read


def boolean(value: object) -> bool:
    """Return true or false."""
    return _boolean(value, "true or false")


def family(value: object) -> int:
    """Return the version of IP, 4 or 6."""
    if type(value) is not int or value not in {4, 6}:
        raise ValueError(f"{shown(value)} is unknown, expected 4 or 6")
    return value


def flag(value: object) -> str:
    """Return a scheduler's flag, of whichever scheduler."""
    return _string(value, FLAGS)


def endpoint(value: object) -> Endpoint:
    """Return the endpoint that ``192.0.2.1:80`` or ``[2001:db8::1]:80`` names.

    Refused are addresses that packets cannot be forwarded to, and addresses with a zone, as a
    packet carries none.
    """
    return _endpoint(value if type(value) is str else _string(value, ENDPOINT))


@cache
def _endpoint(text: str) -> Endpoint:
    """Return the endpoint of a text; the model and several rules ask for the same one."""
    if "%" in text:
        raise ValueError(f"{shown(text)} has a zone, expected an address without %")
    result = _quickly(text)
    if result is None:
        try:
            result = Endpoint(*parse_endpoint(text))
        except ValueError:
            raise ValueError(_misspelt(text)) from None
    if _is_ordinary(result.address):
        return result
    if fault := _unforwardable(ip_address(result.address), result.port):
        raise ValueError(f"{shown(text)} is {fault}")
    return result


def forget_endpoints() -> None:
    """Forget the endpoints that were read: nobody asks for those of a document again."""
    _endpoint.cache_clear()


def _quickly(text: str) -> Endpoint | None:
    """Return the endpoint of a text if the C library knows its address, in a third of the time."""
    host, _, port = text.rpartition(":")
    if not (port.isdecimal() and port.isascii() and len(port) <= 5 and int(port) <= 0xFFFF):
        return None
    try:
        if host.startswith("[") and host.endswith("]"):
            return Endpoint(inet_pton(AF_INET6, host[1:-1]), int(port))
        return Endpoint(inet_pton(AF_INET, host), int(port))
    except (OSError, ValueError):
        return None


def address(value: object) -> bytes:
    """Return the packed address that ``192.0.2.1`` or ``2001:db8::1`` names.

    Refused is what `endpoint` refuses.
    """
    text = _string(value, ADDRESS)
    if "%" in text:
        raise ValueError(f"{shown(text)} has a zone, expected an address without %")
    try:
        result = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no address, expected {ADDRESS}") from None
    if fault := _unforwardable(result):
        raise ValueError(f"{shown(text)} is {fault}")
    return result.packed


def ports(value: object) -> PortRange:
    """Return the range of ports that ``1025-65535`` names."""
    text = _string(value, PORTS)
    found = _PORT_RANGE.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)} is no range, expected {PORTS}")
    low, high = int(found[1]), int(found[2])
    if low > high:
        raise ValueError(f"{shown(text)} is reversed, expected {PORTS}")
    if not 1 <= low <= high <= 0xFFFF:
        raise ValueError(f"{shown(text)} goes too far, expected {PORTS}")
    return PortRange(low, high)


def toa_kind(value: object) -> int:
    """Return the kind of TOA's option unless hosts use it for something else."""
    number = _octet(value)
    if number in KINDS_IN_USE:
        raise ValueError(f"{number} is in use by TCP itself, expected {TOA_KIND}")
    return number


def control(value: object) -> Path:
    """Return the path of the control socket: absolute, of a file, and short enough for a socket."""
    expected = f"an absolute path of at most {MAX_SOCKET_PATH} bytes"
    text = _string(value, expected)
    path = Path(text)
    if "\0" in text or not path.is_absolute():
        raise ValueError(f"{shown(text)} is not an absolute path, expected {expected}")
    if text.rpartition("/")[2] in {"", ".", ".."}:
        raise ValueError(f"{shown(text)} names a directory, expected a socket in it")
    if not text.isprintable():
        raise ValueError(f"{shown(text)} has unprintable characters, expected {expected}")
    if (length := len(bytes(path))) > MAX_SOCKET_PATH:
        raise ValueError(f"{shown(text)} has {length} bytes, expected {expected}")
    return path


def interface(value: object) -> str:
    """Return the name of a network interface (the kernel's dev_valid_name), if it can be read."""
    expected = f"the name of a network interface, 1 to {MAX_INTERFACE_NAME} bytes"
    text = _string(value, expected)
    strange = any(mark in "/: " or not mark.isprintable() for mark in text)
    if strange or text in {"", ".", ".."} or len(text.encode()) > MAX_INTERFACE_NAME:
        raise ValueError(f"{shown(text)} cannot be an interface's name, expected {expected}")
    return text


def name(value: object) -> str:
    """Return the name of a service: one printable word or phrase for logs and metrics."""
    text = _string(value, NAME)
    if not (0 < len(text) <= MAX_NAME and text.isprintable() and text == text.strip()):
        raise ValueError(f"{shown(text)} cannot be a name, expected {NAME}")
    return text


def scheduler(value: object) -> str:
    """Return the name of a scheduler that can be loaded, built in or a third party's."""
    if isinstance(value, str) and value in schedulers.BUILT_IN:
        return value
    known = sorted(schedulers.names())
    text = _string(value, one_of(known))
    if text not in known:
        raise ValueError(unknown(text, known))
    scheduler_class(text)
    return text


def scheduler_class(known_name: str) -> type[Scheduler]:
    """Return a registered scheduler's class.

    Raise ValueError when its package is broken: in a file it is the operator's to name another.
    """
    try:
        return plugins.scheduler_class(known_name)
    except PluginError as error:
        raise ValueError(f"{error}, expected a scheduler that works") from error


def forward(value: object) -> str:
    """Return the name of a forwarder."""
    if isinstance(value, str) and value in FORWARDERS:
        return value
    known = sorted(FORWARDERS)
    text = _string(value, one_of(known))
    if text not in known:
        raise ValueError(unknown(text, known))
    return text


def switch(value: object) -> bool:
    """Return true or false, for 1 or 0 as well, as the kernel's sysctls are written."""
    if type(value) is int and value in {0, 1}:
        return bool(value)
    return _boolean(value, "true or false (or 1 or 0)")


def reuse_mode(value: object) -> int:
    """Return the bits of conn_reuse_mode; 1 or 0 for true or false, as it began as a switch."""
    return _reuse_mode(int(value) if isinstance(value, bool) else value)


def _misspelt(text: str) -> str:
    """Return what is wrong with a text that names no endpoint."""
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        bare = ip_address(text.removeprefix("[").removesuffix("]"))
        with suppress(ValueError):
            meant = endpoint_text(*parse_endpoint(f"[{host}]:{port}"))
            return f"{shown(text)} has no brackets, expected such as {meant}"
        return f"{shown(text)} has no port, expected one, such as {endpoint_text(bare.packed, 80)}"
    with suppress(ValueError):
        parse_endpoint(f"{host}:0")
        return f"port {shown(port)} is wrong, expected a number from 0 to 65535"
    return f"{shown(text)} is no endpoint, expected {ENDPOINT}"


def _is_ordinary(address: bytes) -> bool:
    """Whether the first bytes already say that `_unforwardable` has nothing against an address."""
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127 and address[:2] != b"\xa9\xfe"
    return 0x20 <= address[0] < 0x40  # 2000::/3, global unicast


def _unforwardable(address: IPv4Address | IPv6Address, port: int | None = None) -> str | None:
    """Return why packets to an address cannot be forwarded, and what was expected; or None."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    if mapped:
        return f"an IPv4 address in IPv6's form, expected {endpoint_text(mapped.packed, port)}"
    broadcast = address.packed == b"\xff\xff\xff\xff"
    if address.is_unspecified or address.is_multicast or broadcast:
        return "not the address of one host, expected a unicast one"
    if address.is_loopback:
        return "a loopback address, expected one that other hosts reach"
    if address.is_link_local:
        return "a link-local address, expected one that routers forward to"
    if address.version == 4 and address.is_reserved:
        return "in 240.0.0.0/4, expected an address that is not reserved"
    return None


def _string(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{kind(value)}, expected {expected}")  # noqa: TRY004 - its only error
    return value


def _boolean(value: object, expected: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{kind(value)}, expected {expected}")  # noqa: TRY004 - its only error
    return value


_octet = whole(0, 0xFF, TOA_KIND)
_reuse_mode = whole(0, 3, "a whole number from 0 to 3")
