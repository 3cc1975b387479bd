"""The steps of a plan: what is done to a packet, said and not done.

A forwarder returns a tuple of these for each direction, once per connection. The rewriters
(``lvsd.packet``) compile them; whatever else wants to know what becomes of a packet, such as a
fast path in the kernel, reads the same steps. Addresses are packed, 4 bytes or 16; ports are host
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, TypeAlias

TunnelKind: TypeAlias = Literal["ipip", "gue", "gre"]
"""The kinds of tunnel, as ipvsadm's ``--tun-type`` names them."""


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


@dataclass(frozen=True, slots=True)
class NextHop:
    """Send the packet as a frame to the MAC of ``address``, a neighbour; leave it as it is."""

    address: bytes

    def __str__(self) -> str:
        return f"send to the MAC of {endpoint(self.address, None)}"


@dataclass(frozen=True, slots=True)
class Encapsulate:
    """Put the packet into another one, from ``source`` to ``destination``.

    ``port`` is the UDP port that GUE goes to, 0 for the other kinds; ``checksum`` asks for one of
    the outer UDP or GRE header.
    """

    source: bytes
    destination: bytes
    kind: TunnelKind = "ipip"
    port: int = 0
    checksum: bool = False

    def __str__(self) -> str:
        far = endpoint(self.destination, self.port or None)
        checksum = " with checksum" if self.checksum else ""
        return f"encapsulate as {self.kind}{checksum} {endpoint(self.source, None)} -> {far}"


@dataclass(frozen=True, slots=True)
class Renumber:
    """Give the TCP stream sequence numbers of its own, and take the SYN's timestamp option out.

    Clients behind one local address have unrelated numbers and clocks; to the real server they
    are one host. On replies: undo it in acknowledgements and SACK blocks.
    """

    def __str__(self) -> str:
        return "renumber"


@dataclass(frozen=True, slots=True)
class InsertToa:
    """Tell the real server the client's endpoint in an option of TCP (TOA) or of UDP (UOA).

    ``kind`` is TOA's option kind. What the client itself sent under it is taken out.
    """

    address: bytes
    port: int
    kind: int = 254

    def __str__(self) -> str:
        return f"insert TOA {endpoint(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class InsertProxyHeader:
    """Tell the real server both of the client's ends by PROXY protocol v2, ahead of the data."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int

    def __str__(self) -> str:
        ends = (
            endpoint(self.source, self.source_port),
            endpoint(self.destination, self.destination_port),
        )
        return f"insert PROXY v2 {' -> '.join(ends)}"


@dataclass(frozen=True, slots=True)
class Deliver:
    """Let the host itself have the packet, as it is."""

    def __str__(self) -> str:
        return "deliver here"


Step: TypeAlias = (
    SetSource
    | SetDestination
    | NextHop
    | Encapsulate
    | Renumber
    | InsertToa
    | InsertProxyHeader
    | Deliver
)


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

    __repr__ = __str__


def endpoint(address: bytes, port: int | None) -> str:
    """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``; the address alone if the port is None."""
    text = str(ip_address(address))
    if port is None:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
