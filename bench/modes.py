"""The four modes end to end in one lab, in turns, and HAProxy beside them.

One client, one director, one real server of each mode with nginx and iperf3. The servers of TUN and
FULLNAT stand behind a router, one hop further. Where the kernel has no tunnel device, lvsd itself
takes the outer headers off on TUN's real server; the machine's cores carry that too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.end_to_end import HAPROXY, ROUNDS, Way, compared, sampled, widen_ports
from lvsd.lab import programs, real_server, settings
from lvsd.lab.director import lvsd
from lvsd.lab.lab import Lab
from lvsd.lab.plan import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.report import Section

COMMAND = "python -m bench modes"

WEB, STREAM = 8100, 5200
"""The ports of the first mode's services; the others' follow. Real servers have the same."""

HAPROXY_WEB, HAPROXY_STREAM = 8881, 8882


def tables(rounds: int = ROUNDS, progress: Callable[[str], None] = print) -> list[Section]:
    """Measure everything and return the table; about two minutes for five rounds."""
    with Lab(ways=WAYS) as lab:
        ways = _start(lab)
        samples = sampled(lab.client, ways, rounds, progress)
    title = "The four modes end to end"
    return [compared("modes", title, COMMAND, ways, samples, peer=HAPROXY)]


def _start(lab: Lab) -> list[Way]:
    widen_ports(lab.client)
    for number, server in enumerate(lab.servers):
        real_server.up(server, lab.vip)
        programs.nginx(server, [WEB + number])
        programs.iperf3(server, STREAM + number)
    services = list(_services(lab))
    lvsd(lab.director, settings.toml(services, lab.director.directory / "lvsd.sock"))
    nat = lab.servers[0].addresses.v4
    programs.haproxy(lab.director, HAPROXY_WEB, [f"{nat}:{WEB}"])
    programs.haproxy(lab.director, HAPROXY_STREAM, [f"{nat}:{STREAM}"])
    front = lab.director.interface("front").v4
    return [
        *(
            Way(server.way, lab.vip.v4, WEB + number, STREAM + number)
            for number, server in enumerate(lab.servers)
        ),
        Way(HAPROXY, front, HAPROXY_WEB, HAPROXY_STREAM),
    ]


def _services(lab: Lab) -> Iterator[settings.Service]:
    for number, server in enumerate(lab.servers):
        local = tuple(pair.v4 for pair in lab.local_addresses) if server.way == "fullnat" else ()
        for port in (WEB + number, STREAM + number):
            yield settings.Service(
                f"{server.way}-{port}",
                settings.at(lab.vip.v4, port),
                (settings.RealServer(settings.at(server.addresses.v4, port)),),
                forward=server.way,
                local_addresses=local,
            )
