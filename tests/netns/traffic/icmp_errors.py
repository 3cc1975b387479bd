"""What a UDP socket learns of ICMP errors about its own packets (IP_RECVERR, ip(7), ipv6(7)).

The kernel gives an error to the socket only when the packet quoted in it is one that the socket
sent: so what arrives here was translated back, outside and inside.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.netns.traffic.site import PATIENCE_S
from tests.netns.traffic.sockets import udp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

IP_RECVERR, IPV6_RECVERR = 11, 25
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_PROBE = 3
"""Set DF and ignore what was learned of the path's MTU."""

EXTENDED_ERROR = struct.Struct("=IBBBxII")  # errno, origin, type, code, info, data
ADDRESS_AT = {"v4": slice(20, 24), "v6": slice(24, 40)}
"""The offender's address: in a sockaddr_in or sockaddr_in6 behind that."""


@dataclass(frozen=True)
class IcmpError:
    """An error: its type, code and (for a packet too big) MTU, and who sent it."""

    kind: int
    code: int
    info: int
    offender: str


@contextlib.contextmanager
def probing(site: Site, family: Family, port: int, ttl: int = 64) -> Iterator[socket.socket]:
    """Open a socket of the client, connected to the virtual service, that collects errors."""
    with udp(site.lab.client, family) as sock:
        if family == "v4":
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        sock.connect((site.vip(family), port))
        yield sock


def error(sock: socket.socket, family: Family, timeout_s: float = PATIENCE_S) -> IcmpError:
    """Return the next error; raise TimeoutError if none comes."""
    poll = select.poll()
    poll.register(sock, select.POLLERR)
    if not poll.poll(timeout_s * 1000):
        raise TimeoutError("no ICMP error came")
    [(_, _, data)] = sock.recvmsg(65535, 1024, socket.MSG_ERRQUEUE)[1]
    _, _, kind, code, info, _ = EXTENDED_ERROR.unpack_from(data)
    return IcmpError(kind, code, info, str(ip_address(data[ADDRESS_AT[family]])))
