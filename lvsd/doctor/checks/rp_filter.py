"""A strict rp_filter drops packets that come in by another interface than their way back.

It matters to NAT alone, and IPv4 alone: requests of DR, TUN and FULLNAT are taken before routing,
where the filter is, and so are replies of FULLNAT; replies of the others do not come here. NAT's
requests are routed on with the client's address, its replies with the real server's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.doctor.snapshot import STRICT
from lvsd.io.sysctls import of_interface
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield where replies are dropped, and where packets were dropped that may be requests.

    A filter that is strict and drops nothing is no fault.
    """
    machine, answers = snapshot.machine, snapshot.answers
    servers = [server for server in snapshot.servers("nat") if len(server.address) == 4]
    strict = sorted(name for name, value in machine.rp_filter.items() if value == STRICT)
    for server in servers:
        way = machine.ways.get(server.address)
        for echo in (questions.plain(machine, server), questions.from_outside(server)):
            answer = answers.echoes.get(echo) if echo else None
            if way and answer and answer.interface in strict and answer.interface != way.name:
                yield Finding(
                    Level.PROBLEM,
                    f"rp_filter drops replies of {text(server.address)}: they come in by "
                    f"{answer.interface}, the way there leads out of {way.name}",
                    where=f"server {text(server.address)} (nat)",
                    remedy=_loosen(answer.interface),
                )
    strict = [name for name in strict if name != "lo"]
    if not (servers and strict and machine.rp_filter_drops):
        return
    silent = any(server.is_silent for server in servers)
    yield Finding(
        Level.PROBLEM if silent else Level.WARNING,
        f"rp_filter is strict and has dropped {machine.rp_filter_drops} packets; "
        "they may be clients' whose way back leads elsewhere",
        where=f"interface {', '.join(strict)}",
        remedy="; ".join(map(_loosen, strict)),
    )


def _loosen(interface: str) -> str:
    """Return the command that makes the filter loose; 0 would leave a strict ``all`` in force."""
    return f"sysctl -w {of_interface(interface, 'rp_filter')}=2"


CHECK = Check("rp_filter", "rp_filter drops nothing that NAT needs", look)
