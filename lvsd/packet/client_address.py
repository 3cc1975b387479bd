"""How a real server is told who the client is: TOA, UOA, and the header of PROXY protocol v2.

==========  ==========================  ====================================================
format      for                         where it stands
==========  ==========================  ====================================================
TOA         TCP                         an option, right behind the 20-byte header
UOA         UDP over IPv4               an IP option, right behind the 20-byte header
UOA         UDP over IPv6               a packet of its own, IP protocol 248, ahead
PROXY v2    TCP                         the first bytes of the stream
PROXY v2    UDP                         the first bytes of every datagram
==========  ==========================  ====================================================

TOA is Alibaba's and DPVS's, UOA is DPVS's (its uoa.h), which has it in two shapes. As an IP option
any host takes the datagram, known or not (RFC 1122, section 3.2.1.8). Inside the protocol 248 only
a host that knows it does; everyone else answers that there is no such protocol, and the datagram
is lost. IPv6 has no options of that kind, so there the datagram goes as it is, and the address in
a packet with an empty datagram ahead of it, as DPVS does where it finds no room.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.layout import IPV4, PORTS
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.tcp_options import between

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint, Packet

TOA_BYTES: Final = {4: 8, 16: 20}
"""The length of TOA and of UOA's option by the length of the address."""

EXPERIMENTAL_KINDS: Final = frozenset({253, 254})
"""The TCP option kinds for experiments (RFC 4727), which TOA is found under unless configured."""

UOA_KIND: Final = 31
"""IP option: class control, not copied into fragments, number 31."""

OPTION_PROTOCOL: Final = 248
"""The IP protocol that carries options in front of another protocol, as DPVS numbers it."""

PROXY_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""What no protocol's first bytes are; PROXY protocol, section 2.2."""

PROXY_BYTES: Final = {4: 28, 16: 52}
"""The length of a PROXY v2 header by the length of its addresses."""

_TOLD: Final = Struct("!BBH")
_OPTION_PROTOCOL: Final = Struct("!BBH")
_VERSIONS: Final = {4: 0x10, 16: 0x20}
_PROXY: Final = Struct("!12sBBH")
_PROXY_COMMAND: Final = 0x21
_TRANSPORTS: Final = {TCP: 1, UDP: 2}
_FAMILIES: Final = {4: 0x10, 16: 0x20}


class ClientAddressCounts:
    """Packets, of all connections, in which a client's address was told, or was not.

    ``told`` had it with them or ahead, ``no_room`` went without (a datagram that must not go
    without its PROXY header did not go), and from ``forged`` ones the client's own was taken out.
    """

    __slots__ = ("forged", "no_room", "told")

    def __init__(self) -> None:
        self.told = 0
        self.no_room = 0
        self.forged = 0


def toa(address: bytes, port: int, kind: int) -> bytes:
    """Return TOA, 8 or 20 bytes: kind, length, port, address, all in network order."""
    return _TOLD.pack(kind, TOA_BYTES[len(address)], port) + address


def parse_toa(option: bytes, kind: int) -> Endpoint | None:
    """Return the endpoint in an option that begins here, if it is TOA of this kind."""
    length = len(option) >= 2 and option[1]
    if length not in TOA_BYTES.values() or option[0] != kind or len(option) < length:
        return None
    return option[4:length], int.from_bytes(option[2:4], "big")


def uoa(address: bytes, port: int) -> bytes:
    """Return UOA's IP option, 8 or 20 bytes; it is laid out as TOA is."""
    return toa(address, port, UOA_KIND)


def option_protocol(address: bytes, port: int) -> bytes:
    """Return the header of protocol 248 with UOA inside, 12 or 24 bytes; UDP follows it.

    A version (1 for an IPv4 address, 2 for IPv6) and four bits of zero, the protocol that
    follows, the header's length in bytes, the option.
    """
    option = uoa(address, port)
    version = _VERSIONS[len(address)]
    return _OPTION_PROTOCOL.pack(version, UDP, _OPTION_PROTOCOL.size + len(option)) + option


def ip_options(packet: Packet) -> list[tuple[int, int, int]]:
    """Return (kind, offset in ``data``, length in bytes) of each IPv4 option, in order.

    As `options` does for TCP. IPv6 has none.
    """
    return between(packet.data, IPV4.length, packet.l4) if packet.version == 4 else []


def proxy_header(protocol: int, source: Endpoint, destination: Endpoint) -> bytes:
    """Return a PROXY v2 header, 28 or 52 bytes: TCP or UDP, both ends of one family.

    PROXY protocol, section 2.2: signature, version and command, family and transport, the length
    of what follows, both addresses, both ports.
    """
    addresses = source[0] + destination[0]
    family = _FAMILIES[len(source[0])] | _TRANSPORTS[protocol]
    start = _PROXY.pack(PROXY_SIGNATURE, _PROXY_COMMAND, family, len(addresses) + 4)
    return start + addresses + PORTS.pack(source[1], destination[1])
