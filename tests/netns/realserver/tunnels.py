"""Tunnelled packets from the neighbour: made by scapy one by one, or of a whole TCP connection."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from lvsd.lab.wait import PATIENCE
from tests.netns.realserver.site import NEIGHBOUR4, NEIGHBOUR6, SERVER4, SERVER6, VIP4, VIP6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scapy.packet import Packet

    from tests.netns.realserver.site import Site

TUNNEL_PORT: Final = 6080


def outer(kind: str, family: int, inner: Packet, *, tos: int = 0, checksum: bool = False) -> Packet:
    """Return a packet from the director with another one inside."""
    base = (
        IP(src=NEIGHBOUR4, dst=SERVER4, tos=tos)
        if family == 4
        else IPv6(src=NEIGHBOUR6, dst=SERVER6, tc=tos)
    )
    version = inner.version
    if kind == "ipip":
        field = "proto" if family == 4 else "nh"
        setattr(base, field, 4 if version == 4 else 41)
        return base / Raw(bytes(inner))
    if kind == "gre":
        proto = 0x0800 if version == 4 else 0x86DD
        return base / GRE(proto=proto, chksum_present=int(checksum)) / Raw(bytes(inner))
    header = struct.pack("!BBH", 0, 4 if version == 4 else 41, 0)
    udp = UDP(sport=50000, dport=TUNNEL_PORT)
    if not checksum:
        udp.chksum = 0
    return base / udp / Raw(header + bytes(inner))


def send(site: Site, packet: Packet) -> None:
    """Send an IP packet, its header as it is, from the neighbour to the server."""
    with raw_sender(site, packet.version) as sender:
        sender(bytes(packet))


@contextmanager
def raw_sender(site: Site, family: int) -> Iterator[Sender]:
    """Open a raw socket of the neighbour that takes whole IP packets to the server."""
    version = socket.AF_INET if family == 4 else socket.AF_INET6
    with site.neighbour.entered():
        sock = socket.socket(version, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        yield Sender(sock, SERVER4 if family == 4 else SERVER6)


class Sender:
    """Sends packets to one address."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._socket = sock
        self._to = (address, 0)

    def __call__(self, data: bytes) -> None:
        """Send an IP packet."""
        self._socket.sendto(data, self._to)


@contextmanager
def director(site: Site, kind: str, family: int, mtu: int) -> Iterator[None]:
    """Have the neighbour send packets to the virtual addresses through a tunnel.

    ``mtu`` is the longest inner packet.
    """
    with site.neighbour.entered():
        tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tun, 0x400454CA, struct.pack("=16sH22x", b"director", 0x1001))
    neighbour = site.neighbour
    neighbour.ip(f"link set director mtu {mtu} up")
    neighbour.ip(f"route add {VIP4} dev director src 203.0.113.5")
    neighbour.ip(f"-6 route add {VIP6} dev director src 2001:db8:c::5")
    headers = {
        version: bytes(outer(kind, family, made))
        for version, made in ((4, IP(src=VIP4, dst=VIP4)), (6, IPv6()))
    }
    stop_read, stop_write = os.pipe()
    with raw_sender(site, family) as sender:
        thread = threading.Thread(
            target=_wrap, args=(tun, stop_read, headers, family, sender), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            os.write(stop_write, b"x")
            thread.join(5 * PATIENCE)
            for descriptor in (tun, stop_read, stop_write):
                os.close(descriptor)


def _wrap(tun: int, stop: int, headers: dict[int, bytes], family: int, sender: Sender) -> None:
    """Put each packet that comes out of a TUN device behind the outer headers of its version."""
    while True:
        ready, _, _ = select.select([tun, stop], [], [])
        if stop in ready:
            return
        inner = os.read(tun, 1 << 16)
        version = inner[0] >> 4
        made = bytearray(headers[version])
        head = len(made) - (20 if version == 4 else 40)
        del made[head:]
        made += inner
        if family == 4:
            struct.pack_into("!HHH", made, 2, len(made), 0, 0)
            struct.pack_into("!H", made, 10, 0)
            at = 20
        else:
            struct.pack_into("!H", made, 4, len(made) - 40)
            at = 40
        if made[9 if family == 4 else 6] == 17:
            struct.pack_into("!HH", made, at + 4, len(made) - at, 0)
        sender(bytes(made))


def ethtool(site: Site, *words: str) -> None:
    """Change what the server's interface does by itself."""
    subprocess.run(
        ["ip", "netns", "exec", site.server.name, "ethtool", "-K", "eth0", *words],
        check=True,
        capture_output=True,
    )
