"""What the kernel knows of neighbours' MACs, and how to have it look for one (ip-neighbour(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.net.families import INET, INET6, family
from lvsd.net.kernel import Request
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel, Message

FAMILIES: Final = frozenset({INET, INET6})
_NEW, GONE = 28, 29
KINDS: Final = frozenset({_NEW, GONE})
"""Messages about a neighbour: RTM_NEWNEIGH, RTM_DELNEIGH."""

_CREATE: Final = 0x400
_USE: Final = 0x01
_NOARP, _PERMANENT = 0x40, 0x80
_VALID: Final = 0x02 | 0x04 | 0x08 | 0x10 | _NOARP | _PERMANENT  # NUD_VALID


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour on the interface of an index; ``mac`` is None while it is not known."""

    interface: int
    address: bytes
    mac: bytes | None
    is_fixed: bool
    """Nobody asks for it: an operator has said it, or the link needs none."""


def every(kernel: Kernel) -> tuple[Neighbour, ...]:
    """Return all entries of both families. Raise KernelError."""

    def of_ip(message: Message) -> Neighbour | None:
        return made(message) if message["family"] in FAMILIES else None

    return tuple(filter(None, kernel.dump("neigh", "list the neighbours", of_ip)))


def using(interface: int, address: bytes) -> Request:
    """Return the request to take note that a neighbour is in use (NTF_USE).

    Then the kernel looks for one that is missing, and probes one that grew old, by ARP (RFC 826)
    or neighbour discovery (RFC 4861). It makes no permanent entry, but a permanent one an ordinary
    one (__neigh_update): do not ask for one that `is_fixed`.
    """
    fields = {"family": family(address), "ifindex": interface, "flags": _USE}
    what = f"look for {text(address)} on interface {interface}"
    destination = [("NDA_DST", text(address))]
    return Request(_NEW, _CREATE, fields, destination, what, "see `ip neighbour`")


def made(message: Message) -> Neighbour:
    """Return the neighbour that a message describes."""
    state, mac = message["state"], message.get_attr("NDA_LLADDR")
    known = mac is not None and state & _VALID
    return Neighbour(
        message["ifindex"],
        pack(message.get_attr("NDA_DST")),
        bytes.fromhex(mac.replace(":", "")) if known else None,
        bool(state & (_NOARP | _PERMANENT)),
    )
