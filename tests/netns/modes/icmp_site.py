"""What the tests of ICMP share: what a route has learned, an error and the packet it quotes."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6

from tests.netns.traffic.icmp_errors import ADDRESS_AT, EXTENDED_ERROR, IcmpError, probing
from tests.netns.traffic.site import PATIENCE_S, of
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Lab, Namespace
    from tests.netns.modes.hops import Captures, Fields, Place
    from tests.netns.modes.hops_talk import Case
    from tests.netns.traffic.site import Family, Site

TIME_EXCEEDED: Final = {"v4": (11, 0), "v6": (3, 0)}
PORT_UNREACHABLE: Final = {"v4": (3, 3), "v6": (1, 4)}
TOO_BIG: Final = {"v4": (3, 4), "v6": (2, 0)}
"""Type and code (RFC 792, RFC 4443)."""

ICMP_PROTOCOL: Final = {"v4": 1, "v6": 58}
INFORMATIONAL: Final = 128
"""ICMPv6 types from here on are no errors (RFC 4443, section 2.1)."""

IP_BYTES: Final = {"v4": 20, "v6": 40}
UDP_BYTES: Final = 8


def overhead(case: Case, family: Family) -> int:
    """Return what a case's tunnel adds to a packet of that family, in bytes."""
    outer = "v4" if (family == "v4") != case.mixed else "v6"
    between = {"ipip": 0, "gue": 12, "gre": 4}[case.kind]
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


def answered(site: Site, family: Family, port: int, length: int) -> IcmpError:
    """Send a datagram so long, all headers counted, that may not be cut; return what is said of it.

    Each has a socket of its own: the kernel queues the message first and sets the socket's error
    after that, which on a slow machine is when the next datagram is about to be sent.
    """
    with probing(site, family, port) as sock:
        sock.send(bytes(length - IP_BYTES[family] - UDP_BYTES))
        return error_about(sock, family)[0]


def errors(captures: Captures, place: Place, family: Family) -> list[Fields]:
    """Return the ICMP errors that were seen: ``kind`` (type, code), ``source``, ``mtu``, ``about``.

    What they are about is read only as far as any error quotes it: ends and sequence number.
    """
    found = []
    for data in captures.bytes_of(place, family, ICMP_PROTOCOL[family]):
        source, at, _ = _header(data, family)
        kind, code, mtu = struct.unpack_from("!BBxxI", data, at)
        if not (kind in {3, 11} if family == "v4" else kind < INFORMATIONAL):
            continue
        quoted = data[at + 8 :]
        sender, behind, receiver = _header(quoted, family)
        sport, dport, seq = struct.unpack_from("!HHI", quoted, behind)
        about = {
            "source": sender,
            "destination": receiver,
            "source_port": sport,
            "destination_port": dport,
            "seq": seq,
        }
        found.append({"kind": (kind, code), "source": source, "mtu": mtu, "about": about})
    return found


def _header(data: bytes, family: Family) -> tuple[str, int, str]:
    """Return the source of a packet, where its transport header begins, and the destination."""
    packet = (IP if family == "v4" else IPv6)(data)
    return packet.src, packet.ihl * 4 if family == "v4" else IP_BYTES["v6"], packet.dst


def datagram(source: tuple[str, int], destination: tuple[str, int]) -> Any:
    """Return a UDP datagram between these ends, as scapy writes it."""
    header = IPv6 if ":" in source[0] else IP
    ends = UDP(sport=source[1], dport=destination[1])
    return header(src=source[0], dst=destination[0]) / ends / b"not for me"


def unreachable(sender: str, receiver: str, about: Any) -> bytes:
    """Return an ICMP error, port unreachable, about a packet; its checksum is scapy's."""
    if ":" in sender:
        error = IPv6(src=sender, dst=receiver) / ICMPv6DestUnreach(code=4)
    else:
        error = IP(src=sender, dst=receiver) / ICMP(type=3, code=3)
    return bytes(error / bytes(about))


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


@contextlib.contextmanager
def listening(
    site: Site, server: Namespace, family: Family, port: int, kind: int = socket.SOCK_DGRAM
) -> Iterator[socket.socket]:
    """Open a real server's socket, on the address that requests come to."""
    own = site.lab.vip if server.way in {"dr", "tun"} else server.addresses
    with opened(server, family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((of(own, family), port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock


def uploaded(
    site: Site, server: Namespace, family: Family, ports: tuple[int, int], data: bytes
) -> bytes:
    """Send data to a real server over one TCP connection; return what arrives.

    ``ports`` are the virtual one and the server's.
    """
    vport, rport = ports
    with (
        listening(site, server, family, rport, socket.SOCK_STREAM) as listener,
        opened(site.lab.client, family, socket.SOCK_STREAM) as client,
    ):
        client.connect((site.vip(family), vport))
        accepted, _ = listener.accept()

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        with accepted:
            accepted.settimeout(PATIENCE_S)
            received = b"".join(iter(lambda: accepted.recv(1 << 16), b""))
        thread.join()
    return received
