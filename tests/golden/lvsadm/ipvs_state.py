"""What kernel IPVS says of itself, by generic netlink and /proc, for ``record``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from lvsd.io.netlink import Message, attribute, attributes, linked, nested, string

State = dict[str, Any]

NETLINK_GENERIC = 16
CONTROLLER, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 0x10, 3, 1, 2
GET_SERVICE, GET_DEST = 4, 8
SERVICE, DEST = 1, 2
(AF, PROTOCOL, ADDR, PORT, FWMARK, SCHED_NAME, FLAGS, TIMEOUT, NETMASK, SVC_STATS64) = (
    *range(1, 10), 12,
)  # fmt: skip
"""A service's attributes (linux/ip_vs.h)."""

(
    DEST_ADDR, DEST_PORT, FWD_METHOD, WEIGHT, U_THRESH, L_THRESH, ACTIVE, INACTIVE, TEMPLATES,
    ADDR_FAMILY, DEST_STATS64, TUN_TYPE, TUN_PORT, TUN_FLAGS,
) = *range(1, 10), *range(11, 16)  # fmt: skip
"""A real server's."""

PERSISTENT, ONE_PACKET, FLAG_1, FLAG_2 = 0x1, 0x4, 0x8, 0x10
FORWARDS = {0: "nat", 2: "tun", 3: "dr"}
TUNNEL_KINDS = ("ipip", "gue", "gre")
CHECKSUM = 0x1


def services() -> list[State]:
    """Return the virtual services with their real servers, in the kernel's own order."""
    found = []
    with linked(NETLINK_GENERIC) as link:
        question = Message(CONTROLLER, 0, header(GET_FAMILY) + string(FAMILY_NAME, "IPVS"))
        family = number(attributes(link.get(question).body, 4)[FAMILY_ID])

        def dump(command: int, wanted: bytes, kind: int) -> list[dict[int, bytes]]:
            answers = link.dump(Message(family, 0, header(command) + wanted))
            return [attributes(attributes(answer.body, 4)[kind], 0) for answer in answers]

        for entry in dump(GET_SERVICE, b"", SERVICE):
            service = describe_service(entry)
            identity = [
                attribute(kind, entry[kind])
                for kind in (AF, PROTOCOL, ADDR, PORT, FWMARK)
                if kind in entry
            ]
            servers = dump(GET_DEST, nested(SERVICE, *identity), DEST)
            service["servers"] = list(map(describe_server, servers))
            found.append(service)
    return found


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
