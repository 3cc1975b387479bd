"""All connections that an explanation can be asked for."""

from __future__ import annotations

from itertools import product
from typing import Any

MODES: list[dict[str, Any]] = [
    {"mode": "nat"},
    {"mode": "dr"},
    {"mode": "tun", "tunnel": "ipip"},
    {"mode": "tun", "tunnel": "gue"},
    {"mode": "tun", "tunnel": "gre"},
    {"mode": "tun", "tunnel": "ipip", "mss_clamp": True},
    {"mode": "fullnat", "client_address": "toa"},
    {"mode": "fullnat", "client_address": "proxy-v2"},
    {"mode": "fullnat", "client_address": "none"},
]

CASES: list[dict[str, Any]] = [
    mode | {"protocol": protocol, "ipv6": ipv6}
    for mode, protocol, ipv6 in product(MODES, ("tcp", "udp"), (False, True))
]
CASES += [
    {"mode": "tun", "ipv6": True, "servers": ["10.0.0.11"]},
    {"mode": "tun", "ipv6": False, "servers": ["fd00::11"]},
]


def said(case: dict[str, Any]) -> str:
    """Return a case's name."""
    return "-".join(str(value) for value in case.values())
