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
    from collections.abc import Iterator, Mapping

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
                    f"{answer.interface}, the route there leaves by {way.name}",
                    where=f"server {text(server.address)} (nat)",
                    remedy=_loosen(answer.interface),
                    silences=frozenset({(server.address, "nat")}),
                )
    strict = [name for name in strict if name != "lo"]
    if not (servers and strict and machine.rp_filter_drops):
        return
    silent = frozenset((server.address, "nat") for server in servers if server.is_silent)
    others = "those of clients whose route back leaves by another one"
    if astray := _astray(strict, machine.client_ways):
        strict = sorted({name for names, _, _ in astray for name in names})
        _, client, back = astray[0]
        others = f"those of {text(client)}: the route back leaves by {back}"
    yield Finding(
        Level.PROBLEM if silent else Level.WARNING,
        f"rp_filter is strict and has dropped {machine.rp_filter_drops} packets on all "
        f"interfaces together; they may be {others}",
        where=f"interface {', '.join(strict)}",
        remedy="; ".join(map(_loosen, strict)),
        silences=silent,
    )


def _astray(
    strict: list[str], client_ways: Mapping[bytes, str]
) -> list[tuple[frozenset[str], bytes, str]]:
    """Return which interfaces would drop a client's packets, the client, and its way back.

    Only of those clients for whom the fewest interfaces come into question.
    """
    found = [
        (frozenset(strict) - {back}, client, back) for client, back in sorted(client_ways.items())
    ]
    found = [each for each in found if each[0]]
    fewest = min((len(names) for names, _, _ in found), default=0)
    return [each for each in found if len(each[0]) == fewest]


def _loosen(interface: str) -> str:
    """Return the command that makes the filter loose; 0 would leave a strict ``all`` in force."""
    return f"sysctl -w {of_interface(interface, 'rp_filter')}=2"


CHECK = Check("rp_filter", "rp_filter drops nothing that NAT needs", look)
