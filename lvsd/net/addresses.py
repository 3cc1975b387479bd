"""Addresses of interfaces: list them, put them there, take them off (ip-address(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lvsd.net.families import INET, INET6
from lvsd.net.kernel import NEW, Request
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel, Message

GLOBAL: Final = 0
LINK: Final = 253
HOST: Final = 254
"""Scopes (rtnetlink(7)): an address of scope host is never used to speak to others."""

_NEWADDR, _DELADDR = 20, 21
_SECONDARY: Final = 0x01
_NODAD: Final = 0x02
_DADFAILED: Final = 0x08
_DEPRECATED: Final = 0x20
_TENTATIVE: Final = 0x40
_FOR_EVER: Final = 0xFFFFFFFF
_DEPRECATED_FOR_EVER: Final = {
    "ifa_preferred": 0,
    "ifa_valid": _FOR_EVER,
    "cstamp": 0,
    "tstamp": 0,
}
_REMEDY: Final = "see whether it can be done by `ip address`"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the interface ``interface``, an index."""

    interface: int
    address: bytes
    prefix_length: int
    scope: int
    flags: int = 0

    @property
    def is_secondary(self) -> bool:
        """Of IPv4: another one of the same network was there first, and is spoken from."""
        return bool(self.flags & _SECONDARY)

    @property
    def is_deprecated(self) -> bool:
        """It is spoken from only when asked for (RFC 4862)."""
        return bool(self.flags & _DEPRECATED)

    @property
    def is_tentative(self) -> bool:
        """Whether somebody else has it is not known yet, or somebody has (RFC 4862)."""
        return bool(self.flags & (_TENTATIVE | _DADFAILED))


def every(kernel: Kernel, family: int = 0) -> tuple[Address, ...]:
    """Return all addresses, of one family or of all, in the kernel's order. Raise KernelError."""
    return tuple(kernel.dump("addr", "list the addresses", made, family=family))


def adding(
    interface: int,
    address: bytes,
    prefix_length: int | None = None,
    *,
    scope: int = GLOBAL,
    preferred: bool = True,
) -> Request:
    """Return the request to put an address on an interface, to be used at once.

    Without a length it is alone in its network. One that is not ``preferred`` is spoken from only
    when asked for. It is refused by EEXIST when it is there.
    """
    attributes: list[tuple[str, Any]] = []
    if len(address) == 16:
        attributes.append(("IFA_FLAGS", _NODAD))
    if not preferred:
        attributes.append(("IFA_CACHEINFO", _DEPRECATED_FOR_EVER))
    what = f"add {text(address)} to interface {interface}"
    return _request(_NEWADDR, NEW, interface, address, prefix_length, scope, attributes, what)


def deleting(interface: int, address: bytes, prefix_length: int | None = None) -> Request:
    """Return the request to take an address off; it is refused by EADDRNOTAVAIL without it."""
    what = f"remove {text(address)} from interface {interface}"
    return _request(_DELADDR, 0, interface, address, prefix_length, GLOBAL, [], what)


def made(message: Message) -> Address:
    """Return the address that a message describes."""
    # On a point-to-point link IFA_ADDRESS is the other end. IFA_FLAGS has what the field has not.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return Address(
        message["index"],
        pack(address),
        message["prefixlen"],
        message["scope"],
        message["flags"],
    )


def _request(
    kind: int,
    flags: int,
    interface: int,
    address: bytes,
    length: int | None,
    scope: int,
    attributes: list[tuple[str, Any]],
    operation: str,
) -> Request:
    fields = {
        "family": INET if len(address) == 4 else INET6,
        "prefixlen": 8 * len(address) if length is None else length,
        "scope": scope,
        "index": interface,
    }
    both: list[tuple[str, Any]] = [("IFA_LOCAL", text(address)), ("IFA_ADDRESS", text(address))]
    return Request(kind, flags, fields, both + attributes, operation, _REMEDY)
