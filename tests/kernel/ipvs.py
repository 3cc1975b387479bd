"""Kernel IPVS by its own interface: generic netlink to change and list it, /proc for connections.

What ipvsadm does, without a process per command. `Ipvs.services` and `connections` return all
there is, as lists of dicts that JSON takes.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvsd.io.netlink import Link, Message, attribute, attributes, be16, nested, string

if TYPE_CHECKING:
    from tests.kernel.scenario import RealServer, Verb, VirtualService

State = dict[str, Any]

MODULES = [
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_sh",
    "ip_vs_mh",
    "ip_vs_dh",
    "ip_vs_sed",
    "ip_vs_nq",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_fo",
    "ip_vs_ovf",
]
"""IPVS and its schedulers."""

NETLINK_GENERIC = 16
CONTROLLER, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 0x10, 3, 1, 2
(
    NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST,
) = range(1, 9)  # fmt: skip
SET_CONFIG, GET_CONFIG, FLUSH = 12, 13, 17
SERVICE, DEST, TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP = 1, 2, 4, 5, 6
"""Commands and their attributes (linux/ip_vs.h)."""

_SERVICE_COMMANDS = {"add": NEW_SERVICE, "edit": SET_SERVICE, "remove": DEL_SERVICE}
_SERVER_COMMANDS = {"add": NEW_DEST, "edit": SET_DEST, "remove": DEL_DEST}

(AF, PROTOCOL, ADDR, PORT, FWMARK, SCHED_NAME, FLAGS, TIMEOUT, NETMASK, SVC_STATS64) = (
    *range(1, 10), 12,
)  # fmt: skip
"""A service's attributes."""

(
    DEST_ADDR, DEST_PORT, FWD_METHOD, WEIGHT, U_THRESH, L_THRESH, ACTIVE, INACTIVE, TEMPLATES,
    ADDR_FAMILY, DEST_STATS64, TUN_TYPE, TUN_PORT, TUN_FLAGS,
) = *range(1, 10), *range(11, 16)  # fmt: skip
"""A real server's."""

PERSISTENT, ONE_PACKET, FLAG_1, FLAG_2 = 0x1, 0x4, 0x8, 0x10
FORWARDS = {0: "nat", 2: "tun", 3: "dr"}
TUNNEL_KINDS = ("ipip", "gue", "gre")
CHECKSUM = 0x1
ALL_FLAGS = 0xFFFFFFFF

_FORWARD_NUMBERS = {name: number for number, name in FORWARDS.items()}
_FLAG_BITS = {"fallback": FLAG_1, "port": FLAG_2}


class Ipvs:
    """IPVS of the network namespace that this was made in. Whatever it refuses is an OSError."""

    def __init__(self) -> None:
        self._link = Link(NETLINK_GENERIC)
        question = Message(CONTROLLER, 0, header(GET_FAMILY) + string(FAMILY_NAME, "IPVS"))
        self._family = number(attributes(self._link.get(question).body, 4)[FAMILY_ID])

    # --- changes ----------------------------------------------------------------------------

    def change(self, verb: Verb, service: VirtualService, server: RealServer | None) -> None:
        """Add, edit or remove a service, or a real server of it."""
        whole = verb != "remove"
        if server is None:
            self._do(_SERVICE_COMMANDS[verb], _service(service, whole=whole))
        else:
            name = _service(service, whole=False)
            self._do(_SERVER_COMMANDS[verb], name, _server(server, whole=whole))

    def flush(self) -> None:
        """Remove all services (-C)."""
        self._do(FLUSH)

    def set_timeouts(self, tcp_s: int, tcp_fin_s: int, udp_s: int) -> None:
        """Change the timeouts that can be (--set); 0 leaves one as it is."""
        values = {TIMEOUT_TCP: tcp_s, TIMEOUT_TCP_FIN: tcp_fin_s, TIMEOUT_UDP: udp_s}
        self._do(SET_CONFIG, *(u32(kind, value) for kind, value in values.items()))

    def _do(self, command: int, *parts: bytes) -> None:
        self._link.do(Message(self._family, 0, header(command) + b"".join(parts)))

    # --- what there is ----------------------------------------------------------------------

    def services(self) -> list[State]:
        """Return the virtual services with their real servers, in the kernel's own order."""
        found = []
        for entry in self._dump(GET_SERVICE, b"", SERVICE):
            service = describe_service(entry)
            identity = [
                attribute(kind, entry[kind])
                for kind in (AF, PROTOCOL, ADDR, PORT, FWMARK)
                if kind in entry
            ]
            servers = self._dump(GET_DEST, nested(SERVICE, *identity), DEST)
            service["servers"] = list(map(describe_server, servers))
            found.append(service)
        return found

    def _dump(self, command: int, wanted: bytes, kind: int) -> list[dict[int, bytes]]:
        answers = self._link.dump(Message(self._family, 0, header(command) + wanted))
        return [attributes(attributes(answer.body, 4)[kind], 0) for answer in answers]


def _service(service: VirtualService, *, whole: bool) -> bytes:
    """Return the attributes that name a service, and if whole those that describe it."""
    is_ipv6 = service.version == 6 if service.address is None else ":" in service.address
    parts = [u16(AF, socket.AF_INET6 if is_ipv6 else socket.AF_INET)]
    if service.address is None:
        parts.append(u32(FWMARK, service.fwmark))
    else:
        parts += [
            u16(PROTOCOL, service.protocol),
            attribute(ADDR, packed(service.address)),
            be16(PORT, service.port),
        ]
    if whole:
        bits = PERSISTENT * bool(service.persistence_s) | ONE_PACKET * service.one_packet
        for flag in service.flags:
            bits |= _FLAG_BITS[flag.removeprefix(f"{service.scheduler}-")]
        width = 128 if is_ipv6 else 32
        prefix = width if service.prefix is None else service.prefix
        mask = (1 << 32) - (1 << 32 - prefix) if not is_ipv6 else prefix
        parts += [
            string(SCHED_NAME, service.scheduler),
            attribute(FLAGS, bits.to_bytes(4, sys.byteorder) + ALL_FLAGS.to_bytes(4)),
            u32(TIMEOUT, service.persistence_s),
            u32(NETMASK, mask if is_ipv6 else socket.htonl(mask)),
        ]
    return nested(SERVICE, *parts)


def _server(server: RealServer, *, whole: bool) -> bytes:
    """Return the attributes that name a real server, and if whole those that describe it."""
    is_ipv6 = ":" in server.address
    parts = [
        u16(ADDR_FAMILY, socket.AF_INET6 if is_ipv6 else socket.AF_INET),
        attribute(DEST_ADDR, packed(server.address)),
        be16(DEST_PORT, server.port),
    ]
    if whole:
        parts += [
            u32(FWD_METHOD, _FORWARD_NUMBERS[server.forward]),
            u32(WEIGHT, server.weight),
            u32(U_THRESH, server.upper),
            u32(L_THRESH, server.lower),
            attribute(TUN_TYPE, bytes([TUNNEL_KINDS.index(server.tunnel)])),
            be16(TUN_PORT, server.tunnel_port),
            u16(TUN_FLAGS, CHECKSUM * server.tunnel_checksum),
        ]
    return nested(DEST, *parts)


def packed(text: str) -> bytes:
    """Return an address as IPVS takes it: 16 bytes, of which IPv4 uses the first 4."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")


def u16(kind: int, value: int) -> bytes:
    """Return an attribute that holds 16 bits in host byte order."""
    return attribute(kind, value.to_bytes(2, sys.byteorder))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits in host byte order."""
    return attribute(kind, value.to_bytes(4, sys.byteorder))


def header(command: int) -> bytes:
    """Return the header of a generic netlink message, version 1."""
    return bytes([command, 1, 0, 0])


def number(value: bytes) -> int:
    """Return a number in host byte order."""
    return int.from_bytes(value, sys.byteorder)


def port(value: bytes) -> int:
    """Return a number in network byte order."""
    return int.from_bytes(value, "big")


def describe_service(entry: dict[int, bytes]) -> State:
    """Return what a golden test needs of a service."""
    is_ipv6 = number(entry[AF]) == socket.AF_INET6
    flags, scheduler = number(entry[FLAGS][:4]), entry[SCHED_NAME].rstrip(b"\0").decode()
    mask = entry[NETMASK]
    prefix = number(mask) if is_ipv6 else port(mask).bit_count()
    known = (FLAG_1, "fallback"), (FLAG_2, "port")
    by_mark = FWMARK in entry
    return {
        "protocol": 0 if by_mark else number(entry[PROTOCOL]),
        "address": None if by_mark else address(entry[ADDR], is_ipv6=is_ipv6),
        "port": 0 if by_mark else port(entry[PORT]),
        "fwmark": number(entry[FWMARK]) if by_mark else 0,
        "family": 6 if is_ipv6 else 4,
        "scheduler": scheduler,
        "flags": [f"{scheduler}-{name}" for bit, name in known if flags & bit],
        "persistence_s": number(entry[TIMEOUT]) if flags & PERSISTENT else 0,
        "prefix": None if prefix == (128 if is_ipv6 else 32) else prefix,
        "one_packet": bool(flags & ONE_PACKET),
        **describe_stats(entry[SVC_STATS64]),
    }


def describe_server(entry: dict[int, bytes]) -> State:
    """Return what a golden test needs of a real server; ``tunnel`` is kind, port, checksum."""
    forward = FORWARDS[number(entry[FWD_METHOD]) & 7]
    tunnel = [
        TUNNEL_KINDS[number(entry[TUN_TYPE])],
        port(entry[TUN_PORT]),
        bool(number(entry[TUN_FLAGS]) & CHECKSUM),
    ]
    return {
        "address": address(entry[DEST_ADDR], is_ipv6=number(entry[ADDR_FAMILY]) == socket.AF_INET6),
        "port": port(entry[DEST_PORT]),
        "forward": forward,
        "tunnel": tunnel if forward == "tun" else None,
        "weight": number(entry[WEIGHT]),
        "upper": number(entry[U_THRESH]),
        "lower": number(entry[L_THRESH]),
        "active": number(entry[ACTIVE]),
        "inactive": number(entry[INACTIVE]),
        "templates": number(entry[TEMPLATES]),
        **describe_stats(entry[DEST_STATS64]),
    }


def address(value: bytes, *, is_ipv6: bool) -> str:
    """Return an address as text; IPv4's is the first of four words."""
    if is_ipv6:
        return socket.inet_ntop(socket.AF_INET6, value)
    return socket.inet_ntop(socket.AF_INET, value[:4])


def describe_stats(value: bytes) -> State:
    """Return counters and rates in ipvsadm's order."""
    entry = attributes(value, 0)
    return {
        "stats": [number(entry[kind]) for kind in range(1, 6)],
        "rates": [number(entry[kind]) for kind in range(6, 11)],
    }


def connections() -> list[State]:
    """Return the rows of /proc/net/ip_vs_conn; there, IPv4 addresses are hexadecimal words."""
    rows = []
    for line in Path("/proc/net/ip_vs_conn").read_text().splitlines()[1:]:
        protocol, *ends, name, expires = line.split()
        addresses = [
            str_address(word) if ":" in word else socket.inet_ntoa(bytes.fromhex(word))
            for word in ends[::2]
        ]
        rows.append(
            {
                "protocol": {"TCP": 6, "UDP": 17, "SCTP": 132, "IP": 0}[protocol],
                "addresses": addresses,
                "ports": [int(word, 16) for word in ends[1::2]],
                "state": name,
                "expires_s": int(expires),
            }
        )
    return rows


def str_address(word: str) -> str:
    """Return an IPv6 address in its short form."""
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, word))
