"""A director's two networks, with us at the far end of both: any packet in, every packet out.

::

    us (any client) --- 198.51.100.1 cl0  director  rs0 10.0.0.254 --- us (any real server)
                        2001:db8:1::1               2001:db8:2::fe

The same rig stands around kernel IPVS and around lvsd. Both far ends are interfaces of the
director's own network namespace, so that a packet's firewall mark comes along, but no addresses of
it: frames go to MACs that nobody has, which only packet sockets see. The VIPs are local routes, so
that IPVS finds them in LOCAL_IN. Run it only in a namespace, or a kernel, of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import select
import socket
import subprocess
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from tests.kernel.scenario import Seen, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MTU = 1500
SERVERS = 64
"""Real servers 10.0.0.N and 2001:db8:2::N, N from 1; more have no MAC."""

NEAR = {Side.CLIENT: "cl0", Side.SERVER: "rs0"}
FAR = {Side.CLIENT: "clx", Side.SERVER: "rsx"}
DIRECTOR = {
    Side.CLIENT: ("198.51.100.1", "2001:db8:1::1"),
    Side.SERVER: ("10.0.0.254", "2001:db8:2::fe"),
}
VIPS = "192.0.2.0/24", "2001:db8:f::/64"
GATEWAY = "198.51.100.2", "2001:db8:1::2"
"""Where clients are."""
ROUTER = "10.0.0.253", "2001:db8:2::fd"
BEHIND_ROUTER = "172.16.0.0/16", "2001:db8:3::/64"
"""More real servers, for tunnels."""

RESTED_S = 60.0
"""How long a director's kernel may take to come to a packet, in seconds."""

GATEWAY_MAC = bytes((2, 0, 0, 0, 1, 1))

_ETH_P_ALL = 3
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_SO_MARK = 36
_ETHERNET_BYTES = 14
_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_LONGEST = 1 << 16
_ARP = b"\x08\x06"
_ARP_OF_IPV4 = b"\0\1\x08\0\x06\x04"
_ARP_REPLY = _ARP + _ARP_OF_IPV4 + b"\0\2"

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_ETHTOOL_VALUE = Struct("=II")
_IFREQ = Struct("=16sQ16x")


def server_mac(number: int) -> bytes:
    """Return the MAC that the director knows for a real server; 0 is the router beside them."""
    return bytes((2, 0, 0, 0, 2, number))


def server_address(number: int, version: int = 4) -> str:
    """Return the address of a real server."""
    return f"10.0.0.{number}" if version == 4 else f"2001:db8:2::{number:x}"


def build() -> None:
    """Make the networks where this process is. Raise CalledProcessError if one cannot be made."""
    ends = [*NEAR.values(), *FAR.values()]
    _ip(
        "link set lo up",
        *(f"link add {NEAR[side]} type veth peer name {FAR[side]} mtu 65535" for side in Side),
        *(f"link set {end} addrgenmode none" for end in ends),
    )
    for far in FAR.values():
        _set(f"ipv6/conf/{far}/disable_ipv6", 1)
    for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        _set(key, 1)
    for key, unlimited in (
        ("ipv4/icmp_ratelimit", 0),
        ("ipv4/icmp_msgs_per_sec", 1_000_000),
        ("ipv6/icmp/ratelimit", 0),
    ):
        _set(key, unlimited)
    _ip(
        *(f"address add {DIRECTOR[side][0]}/24 dev {NEAR[side]}" for side in Side),
        *(f"address add {DIRECTOR[side][1]}/64 dev {NEAR[side]} nodad" for side in Side),
        *(f"link set {end} up" for end in ends),
        *_neighbours(),
        *(f"route add default via {gateway}" for gateway in GATEWAY),
        *(f"route add local {vips} dev lo" for vips in VIPS),
        *(f"route add {far} via {via}" for far, via in zip(BEHIND_ROUTER, ROUTER, strict=True)),
    )
    for near in NEAR.values():
        _finish_checksums(near)


def _neighbours() -> Iterator[str]:
    """Yield the commands that tell the director everybody's MAC."""
    places: list[tuple[Iterable[str], Side, bytes]] = [
        (GATEWAY, Side.CLIENT, GATEWAY_MAC),
        (ROUTER, Side.SERVER, server_mac(0)),
    ]
    for number in range(1, SERVERS + 1):
        both = server_address(number, 4), server_address(number, 6)
        places.append((both, Side.SERVER, server_mac(number)))
    for addresses, side, mac in places:
        for address in addresses:
            yield f"neighbour add {address} lladdr {mac.hex(':')} dev {NEAR[side]} nud permanent"


def _finish_checksums(interface: str) -> None:
    """Let the kernel write all checksums itself: a veth leaves those of its own packets undone."""
    off = ctypes.create_string_buffer(_ETHTOOL_VALUE.pack(_ETHTOOL_STXCSUM, 0))
    request = _IFREQ.pack(interface.encode("ascii"), ctypes.addressof(off))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)


def set_mtu(side: Side, mtu: int) -> None:
    """Give one of the director's interfaces another MTU."""
    _ip(f"link set {NEAR[side]} mtu {mtu}")


def _set(key: str, value: int) -> None:
    Path("/proc/sys/net", key).write_text(str(value), encoding="ascii")


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class FarEnds:
    """Our ends of both networks. To be made where the rig was built; stays there for good."""

    def __init__(self) -> None:
        self._sockets: dict[Side, socket.socket] = {}
        self._headers: dict[tuple[Side, int], bytes] = {}
        self._marks = dict.fromkeys(Side, 0)
        self._frame = bytearray(_LONGEST)
        self._answered = False
        self._arp_request = _arp_request(_mac(NEAR[Side.CLIENT]))
        for side in Side:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind((FAR[side], _ETH_P_ALL))
            sock.setblocking(False)
            self._sockets[side] = sock
            us = GATEWAY_MAC if side is Side.CLIENT else server_mac(0)
            ends = _mac(NEAR[side]) + us
            for version, ethertype in _ETHERTYPES.items():
                self._headers[side, version] = ends + ethertype

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()

    def send(self, side: Side, data: bytes, mark: int = 0) -> None:
        """Let a packet come to the director from one side, with a firewall mark."""
        sock = self._sockets[side]
        if mark != self._marks[side]:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            self._marks[side] = mark
        sock.send(self._headers[side, data[0] >> 4] + data)

    def collect(self) -> tuple[Seen, ...]:
        """Return what has left the director up to now, each side's packets in order."""
        return tuple(self._read())

    def rest(self) -> tuple[Seen, ...]:
        """Return all that the director makes of what was sent before, once it has done so.

        A kernel that forwards by itself is mostly done before `send` returns, but may leave packets
        to a thread of its own, which a busy machine runs whenever it likes. That thread takes one
        after the other, so an ARP request is answered after all of them. For this, the process
        must stay on one processor. Raise TimeoutError.
        """
        self._sockets[Side.CLIENT].send(self._arp_request)
        seen: list[Seen] = []
        self._answered = False
        while not self._answered:
            if not self._wait(RESTED_S):
                raise TimeoutError("the director's kernel does not answer an ARP request")
            seen += self._read()
        return tuple(seen + self._read())

    def _wait(self, patience_s: float) -> bool:
        readable, _, _ = select.select(list(self._sockets.values()), [], [], patience_s)
        return bool(readable)

    def _read(self) -> list[Seen]:
        """Return the IP packets that are there; what the director says to its links is none."""
        seen = []
        frame = self._frame
        for side, sock in self._sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    end = sock.recv_into(frame)
                    if frame[12:22] == _ARP_REPLY and side is Side.CLIENT:
                        self._answered = True
                    is_multicast = frame[0] & 1
                    if not is_multicast and frame[12:_ETHERNET_BYTES] in _ETHERTYPES.values():
                        data = without_padding(bytes(frame[_ETHERNET_BYTES:end]))
                        seen.append(Seen(side, bytes(frame[:6]), data))
        return seen


def _arp_request(director: bytes) -> bytes:
    """Return the gateway's question for the director's MAC, sent to the MAC that it has."""
    asker, asked = socket.inet_aton(GATEWAY[0]), socket.inet_aton(DIRECTOR[Side.CLIENT][0])
    addresses = GATEWAY_MAC + asker + bytes(6) + asked
    return director + GATEWAY_MAC + _ARP + _ARP_OF_IPV4 + b"\0\1" + addresses


def _mac(interface: str) -> bytes:
    """Return an interface's MAC; /sys shows those of the network namespace that mounted it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        return bytes(sock.getsockname()[4])


def without_padding(data: bytes) -> bytes:
    """Return a packet as long as its header says."""
    if data[0] >> 4 == 4:
        return data[: int.from_bytes(data[2:4], "big")]
    return data[: 40 + int.from_bytes(data[4:6], "big")]
