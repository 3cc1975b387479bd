"""What the kernel knows of neighbours' MACs (ip-neighbour(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.net.families import INET, INET6
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel, Message

_NOARP, _PERMANENT = 0x40, 0x80
_VALID: Final = 0x02 | 0x04 | 0x08 | 0x10 | _NOARP | _PERMANENT  # NUD_VALID
_FAMILIES: Final = {INET, INET6}


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
    messages = kernel.dump("neigh", "list the neighbours")
    return tuple(made(message) for message in messages if message["family"] in _FAMILIES)


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
