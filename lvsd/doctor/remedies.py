"""Commands of lvsd's own that checks give as remedies. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.packet.address import text

if TYPE_CHECKING:
    from lvsd.doctor.snapshot import Server, Snapshot


def cleanup(snapshot: Snapshot) -> str:
    """Return the command that removes what a killed daemon left behind."""
    return f"lvsd cleanup -c {shlex.quote(snapshot.config or 'FILE')}"


def up(snapshot: Snapshot, server: Server, mss: str = "auto") -> str:
    """Return the `lvsd realserver up` that makes a host a real server of DR or TUN.

    ``mss`` is the most that it announces with TUN: a number of bytes that is good for both
    families, or auto.

    The last `up` counts, so this names every virtual address that the host serves, of both
    families. Hosts on a link are told apart by their MACs. Behind a router they are not: there
    all virtual addresses are named that are reached by tunnels.
    """
    alike = [
        (service, each)
        for service, each in snapshot.members("dr", "tun")
        if service.vip and _are_one_host(snapshot, server, each)
    ]
    vips = sorted({service.vip for service, _ in alike}, key=_by_family)
    tunnelled = [each for _, each in alike if each.mode == "tun"]
    words = ["lvsd realserver up", f"--mode {'tun' if tunnelled else 'dr'}"]
    words += [f"--vip {text(vip)}" for vip in vips]
    if tunnelled:
        tunnel = (server if server.mode == "tun" else tunnelled[0]).tunnel
        words.append(f"--tunnel {tunnel.kind}")
        if tunnel.port:
            words.append(f"--port {tunnel.port}")
        sources = {snapshot.machine.sources.get(each.address) for each in tunnelled} - {None}
        words += [f"--from {text(each)}" for each in sorted(filter(None, sources), key=_by_family)]
        words.append(f"--mss {mss}")
    return " ".join(words)


def _are_one_host(snapshot: Snapshot, one: Server, other: Server) -> bool:
    if one.address == other.address:
        return True
    macs = _macs(snapshot, one), _macs(snapshot, other)
    if None in macs:
        return macs == (None, None) and one.mode == other.mode == "tun"
    return bool((macs[0] or frozenset()) & (macs[1] or frozenset()))


def _macs(snapshot: Snapshot, server: Server) -> frozenset[bytes] | None:
    """Return the MACs of a server that is on one of our links; None when it is on none."""
    ask = questions.next_hop(snapshot.machine, server)
    if ask is None or ask.address != server.address:
        return None
    return snapshot.answers.macs.get(ask, frozenset())


def _by_family(address: bytes) -> tuple[int, bytes]:
    return len(address), address
