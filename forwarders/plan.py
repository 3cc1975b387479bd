"""The steps of a plan: what is done to a packet, said and not done.

A forwarder returns a tuple of these for each direction, once per connection. The rewriter
(``lvsd.packet.rewrite``) compiles them; whatever else wants to know what becomes of a packet,
such as a fast path in the kernel, reads the same steps. Addresses are packed, 4 bytes or 16;
ports are host order.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SetSource:
    """Replace the source address, and the port unless that is None."""

    address: bytes
    port: int | None

    def __str__(self) -> str:
        return f"set source {endpoint(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class SetDestination:
    """Replace the destination address, and the port unless that is None."""

    address: bytes
    port: int | None

    def __str__(self) -> str:
        return f"set destination {endpoint(self.address, self.port)}"


Step: TypeAlias = SetSource | SetDestination


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to a connection's packets, per direction.

    ``reply`` is None when replies do not come back through the director.
    """

    request: tuple[Step, ...]
    reply: tuple[Step, ...] | None

    def __str__(self) -> str:
        request = "; ".join(map(str, self.request))
        reply = "bypasses the director" if self.reply is None else "; ".join(map(str, self.reply))
        return f"request: {request} | reply: {reply}"


def endpoint(address: bytes, port: int | None) -> str:
    """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``; the address alone if the port is None."""
    text = str(ip_address(address))
    if port is None:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
