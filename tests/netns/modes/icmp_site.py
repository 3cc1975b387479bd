"""What the tests of ICMP share: what a route has learned, an error and the packet it quotes."""

from __future__ import annotations

import json
import select
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6

from tests.netns.modes.hops import proxy_v2
from tests.netns.traffic.icmp_errors import ADDRESS_AT, EXTENDED_ERROR, IcmpError
from tests.netns.traffic.site import PATIENCE_S

if TYPE_CHECKING:
    from lvsd.lab import Lab, Namespace
    from tests.netns.modes.hops_talk import Case
    from tests.netns.traffic.site import Family

TIME_EXCEEDED: Final = {"v4": (11, 0), "v6": (3, 0)}
PORT_UNREACHABLE: Final = {"v4": (3, 3), "v6": (1, 4)}
TOO_BIG: Final = {"v4": (3, 4), "v6": (2, 0)}
"""Type and code (RFC 792, RFC 4443)."""

IP_BYTES: Final = {"v4": 20, "v6": 40}
UDP_BYTES: Final = 8


def overhead(case: Case, family: Family) -> int:
    """Return what a case's tunnel adds to a packet of that family, in bytes."""
    outer = "v4" if (family == "v4") != case.mixed else "v6"
    between = {"ipip": 0, "gue": 12, "gre": 8 if case.checksum else 4}[case.kind]
    return IP_BYTES[outer] + between


def announced(case: Case, family: Family) -> int:
    """Return what FULLNAT adds to a datagram of that family, in bytes."""
    return {
        ("toa", "v4"): 8,
        ("proxy-v2", "v4"): 28,
        ("proxy-v2", "v6"): 52,
    }.get((case.kind, family), 0)


def unlimit(lab: Lab) -> None:
    """Have all hosts send as many ICMP errors as there is reason to."""
    for host in lab.hosts:
        host.sysctl("net.ipv4.icmp_ratelimit", "0")
        host.sysctl("net.ipv6.icmp.ratelimit", "0")


def forget(host: Namespace) -> None:
    """Have a host forget what it was told of the MTUs of ways."""
    for version in ("-4", "-6"):
        host.run(["ip", version, "route", "flush", "cache"])


def learned_mtu(host: Namespace, address: str) -> int | None:
    """Return the MTU that a host was told the way to an address has; None if it was not."""
    shown = json.loads(host.run(["ip", "-json", "route", "get", address]).stdout)
    for metrics in shown[0].get("metrics", []):
        if "mtu" in metrics:
            return int(metrics["mtu"])
    return None


def error_about(sock: socket.socket, family: Family) -> tuple[IcmpError, bytes]:
    """Return the next error of a socket that collects them, and the payload that it quotes."""
    poll = select.poll()
    poll.register(sock, select.POLLERR)
    assert poll.poll(PATIENCE_S * 1000), "no ICMP error came"
    data, [(_, _, about)], _, _ = sock.recvmsg(65535, 1024, socket.MSG_ERRQUEUE)
    _, _, kind, code, info, _ = EXTENDED_ERROR.unpack_from(about)
    return IcmpError(kind, code, info, str(ip_address(about[ADDRESS_AT[family]]))), data


def quote(case: Case, sock: socket.socket, data: bytes) -> bytes:
    """Return the payload that an error from behind the director quotes.

    It is what the client's socket sent, and a PROXY header ahead of it if it got one.
    """
    if case.kind != "proxy-v2":
        return data
    return proxy_v2("udp", sock.getsockname()[:2], sock.getpeername()[:2]) + data


def unreachable(
    sender: str, receiver: str, source: tuple[str, int], destination: tuple[str, int]
) -> bytes:
    """Return an ICMP error, port unreachable, about a datagram of these ends; scapy sums it up."""
    header = IPv6 if ":" in sender else IP
    about = header(src=source[0], dst=destination[0]) / UDP(sport=source[1], dport=destination[1])
    error = ICMPv6DestUnreach(code=4) if ":" in sender else ICMP(type=3, code=3)
    return bytes(header(src=sender, dst=receiver) / error / bytes(about / b"not for me"))


def spoilt(packet: bytes) -> bytes:
    """Return an ICMP error with another bit in its checksum."""
    at = 40 if packet[0] >> 4 == 6 else 20
    return packet[: at + 3] + bytes((packet[at + 3] ^ 1,)) + packet[at + 4 :]


def send_raw(host: Namespace, packet: bytes) -> None:
    """Send an IP packet from a host as it is."""
    is_v6 = packet[0] >> 4 == 6
    family, ends = (socket.AF_INET6, packet[24:40]) if is_v6 else (socket.AF_INET, packet[16:20])
    with host.entered(), socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(packet, (socket.inet_ntop(family, ends), 0))
