"""Chains of others that drop what nobody accepts: docs/firewall.md has the lines that they need.

NAT's packets meet forward chains, those of TUN and FULLNAT output chains; DR's meet none. They
are not tracked by conntrack, so that `established,related` never lets them through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.finding import Check, Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Chain, Server, Snapshot

_MODES: Final = {"forward": ("nat",), "output": ("tun", "fullnat")}
_LENGTHS: Final = {"ip": (4,), "ip6": (16,), "inet": (4, 16)}


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield every chain that may drop our packets.

    A problem where the daemon has seen that no packet gets through. Silent where a rule of the
    chain speaks of untracked packets, or where every server has answered.
    """
    refused = snapshot.daemon is not None and snapshot.daemon.count("packets", "failed") > 0
    for chain in snapshot.machine.chains:
        servers = list(_concerned(snapshot, chain))
        if chain.knows_untracked or all(server.answers for server in servers):
            continue
        silent = _any_is_silent(snapshot, chain) if chain.hook == "forward" else refused
        yield Finding(
            Level.PROBLEM if silent else Level.WARNING,
            f"policy drop in hook {chain.hook}, and no rule about untracked packets: "
            f"those of {' and '.join(_MODES[chain.hook])} are untracked",
            where=f"nftables chain {chain.family} {chain.table} {chain.name}",
            remedy=f"nft insert rule {chain.family} {chain.table} {chain.name} "
            "ct state untracked accept",
            silences=frozenset((server.address, server.mode) for server in servers),
        )


def _concerned(snapshot: Snapshot, chain: Chain) -> Iterator[Server]:
    for server in snapshot.servers(*_MODES[chain.hook]):
        if len(server.address) in _LENGTHS[chain.family]:
            yield server


def _any_is_silent(snapshot: Snapshot, chain: Chain) -> bool:
    """Whether clients of any service get no answer, whatever their server answers for others."""
    return any(
        server.is_silent
        for _, server in snapshot.members(*_MODES[chain.hook])
        if len(server.address) in _LENGTHS[chain.family]
    )


CHECK = Check("firewall", "no other chain of nftables drops by policy what lvsd sends", look)
