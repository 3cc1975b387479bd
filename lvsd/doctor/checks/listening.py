"""A program on each real server of DR and TUN listens on the virtual address and port, for TCP.

Asked by a SYN, sent as the director sends a client's on; whoever has no such program answers by a
RST. Who does not answer at all is a matter of the virtual address's check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers that refuse connections: clients would be refused, too.

    A warning, as a firewall may refuse this host alone.
    """
    for service, server in snapshot.members("dr", "tun"):
        asked = questions.syn(snapshot.machine, service, server)
        handshake = snapshot.answers.handshakes.get(asked) if asked else None
        if handshake is None or handshake.accepted:
            continue
        name = text(server.address)
        yield Finding(
            Level.WARNING,
            f"nobody listens on {endpoint(service.vip, service.port)} at {name}",
            where=f"service {service.name}, server {name} ({server.mode})",
            remedy=f"ss -ltnp sport = :{service.port}",
            at=name,
        )


CHECK = Check("listening", "nobody refuses TCP connections of DR and TUN", look)
