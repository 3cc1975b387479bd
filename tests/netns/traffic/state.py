"""What can be seen of a host from outside lvsd: its ruleset, sysctls, addresses and routes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.netns.listed_ruleset import listed_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.io.hosts import Host

SYSCTLS = "net/ipv4", "net/ipv6"
READINGS = {"tcp_fastopen_key", "tcp_mem", "udp_mem", "flush", "stable_secret"}
"""Files there that nobody may read, or that count or differ by themselves."""
MAX_BYTES = 1 << 16
"""What one read returns of any of them."""


def ruleset(host: Namespace) -> list[dict[str, Any]]:
    """Return the host's nftables ruleset."""
    with host.entered():
        return listed_ruleset()


def sysctls(host: Namespace | Host) -> dict[str, str]:
    """Return every network sysctl of the host."""
    with host.entered():
        return dict(each for root in SYSCTLS for each in _read(f"/proc/sys/{root}"))


def _read(folder: str) -> Iterator[tuple[str, str]]:
    """Yield path and content of the files below: there are a thousand, so not by pathlib."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _read(entry.path)
            elif entry.name not in READINGS and entry.stat().st_mode & 0o400:
                descriptor = os.open(entry.path, os.O_RDONLY)
                try:
                    yield (
                        entry.path,
                        os.read(descriptor, MAX_BYTES).decode("ascii", "replace").strip(),
                    )
                finally:
                    os.close(descriptor)


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
