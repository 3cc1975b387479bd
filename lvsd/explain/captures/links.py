"""Where the IP packet begins behind each link layer that captures have (tcpdump's link types)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain.headers.ethernet import IPV4, IPV6, TAGS

if TYPE_CHECKING:
    from collections.abc import Callable

ETHERNET: Final = 1

NAMES: Final = {
    6: "token ring",
    9: "PPP",
    10: "FDDI",
    50: "PPP",
    51: "PPPoE",
    104: "Cisco HDLC",
    105: "802.11",
    119: "802.11 Prism",
    127: "802.11 radiotap",
    187: "Bluetooth",
    189: "USB",
    195: "802.15.4",
    201: "Bluetooth",
    220: "USB",
    227: "CAN",
    230: "802.15.4",
    239: "NFLOG",
    249: "USB",
    253: "netlink",
}
"""What people call link types that have no packet for us."""

_VERSIONS: Final = frozenset({4, 6})
_FAMILIES: Final = frozenset({2, 10, 24, 28, 30})
"""AF_INET, which is 2 everywhere, and AF_INET6 of Linux, the BSDs and macOS."""


def ip_packet(link_type: int, data: bytes) -> bytes:
    """Return the IP packet behind a link layer that is in `LINKS`; nothing if there is none."""
    at = LINKS[link_type](data)
    packet = data[at:] if at else data
    return packet if at is not None and packet and packet[0] >> 4 in _VERSIONS else b""


def _raw(_: bytes) -> int:
    return 0


def _loopback(data: bytes) -> int | None:
    """Return where the packet begins behind an address family, of either byte order."""
    families = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return 4 if families & _FAMILIES else None


def _typed(at: int, size: int) -> Callable[[bytes], int | None]:
    """Return the finder for a header of ``size`` bytes that has an Ethernet type at ``at``."""

    def begin(data: bytes) -> int | None:
        kind, behind = int.from_bytes(data[at : at + 2], "big"), size
        while kind in TAGS:
            kind, behind = int.from_bytes(data[behind + 2 : behind + 4], "big"), behind + 4
        return behind if kind in {IPV4, IPV6} else None

    return begin


LINKS: Final[dict[int, Callable[[bytes], int | None]]] = {
    0: _loopback,
    ETHERNET: _typed(12, 14),
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loopback,
    113: _typed(14, 16),
    228: _raw,
    229: _raw,
    276: _typed(0, 20),
}
"""By link type, what finds the packet's beginning: BSD loopback, Ethernet, raw IP, Linux cooked."""
