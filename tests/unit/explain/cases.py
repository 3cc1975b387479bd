"""All connections that an explanation can be asked for."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.explain import explain

if TYPE_CHECKING:
    from lvsd.explain import Explanation

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


LONG_ENDS = {
    "vip": "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
    "client": "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65534",
    "servers": ["[fd00:1111:2222:3333:4444:5555:6666:7777]:65535"],
}
EVERY: dict[str, dict[str, Any]] = {said(case): case for case in CASES} | {
    "the longest addresses, fullnat": {"mode": "fullnat", **LONG_ENDS},
    "the longest addresses, tun": {"mode": "tun", **LONG_ENDS},
    "as many servers as can be": {"mode": "dr", "weights": [1] * 26},
    "nobody to pick": {"mode": "nat", "weights": [0, 0]},
}
"""By name, also those in which something is unusual."""

every_case = pytest.mark.parametrize("case", EVERY)


@cache
def told(case: str) -> Explanation:
    """Return the explanation of a case by its name."""
    return explain(**EVERY[case])
