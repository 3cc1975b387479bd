"""What can be seen of a host from outside lvsd: its ruleset, sysctls, addresses and routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.netns.listed_ruleset import listed_ruleset

if TYPE_CHECKING:
    from lvsd.lab import Namespace

SYSCTLS = "net/ipv4", "net/ipv6"
READINGS = {"tcp_fastopen_key", "tcp_mem", "udp_mem", "flush", "stable_secret"}
"""Files there that nobody may read, or that count or differ by themselves."""


def ruleset(host: Namespace) -> list[dict[str, Any]]:
    """Return the host's nftables ruleset."""
    with host.entered():
        return listed_ruleset()


def sysctls(host: Namespace) -> dict[str, str]:
    """Return every network sysctl of the host."""
    with host.entered():
        return {
            str(path): path.read_text("ascii", "replace").strip()
            for root in SYSCTLS
            for path in sorted(Path("/proc/sys", root).rglob("*"))
            if path.is_file() and path.name not in READINGS and path.stat().st_mode & 0o400
        }


def state(host: Namespace) -> dict[str, Any]:
    """Return all that lvsd might change of a host."""

    def shown(*words: str) -> Any:
        return json.loads(host.run(["ip", "-j", *words]).stdout or "[]")

    return {
        "ruleset": ruleset(host),
        "sysctls": sysctls(host),
        "addresses": shown("address", "show"),
        "rules": [shown("-4", "rule"), shown("-6", "rule")],
        "routes": [shown(family, "route", "show", "table", "all") for family in ("-4", "-6")],
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two states, each as (before, after); empty if nothing does."""
    flat = [
        {**{kind: value for kind, value in one.items() if kind != "sysctls"}, **one["sysctls"]}
        for one in (before, after)
    ]
    return {
        key: (flat[0].get(key), flat[1].get(key))
        for key in flat[0] | flat[1]
        if flat[0].get(key) != flat[1].get(key)
    }


def tracked(host: Namespace) -> list[str]:
    """Return conntrack's entries in a host, one line each."""
    return [
        line
        for family in ("ipv4", "ipv6")
        for line in host.run(["conntrack", "-L", "-f", family]).stdout.splitlines()
    ]
