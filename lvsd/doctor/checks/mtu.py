"""How long a packet may be: in a tunnel, on the whole path, and with TOA in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.plan import Encapsulate
from lvsd.doctor import questions, remedies
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.doctor.segments import HEADERS
from lvsd.doctor.snapshot import ETHERNET, LEAST_IPV6
from lvsd.packet.address import text
from lvsd.packet.tunnel import compile_tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Service, Snapshot
    from lvsd.net.ways import Way


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the ways that take less than they seem to, or than clients send."""
    for service, server in snapshot.members("tun"):
        way = snapshot.machine.ways.get(server.address)
        if way is not None:
            yield from _inside(snapshot, service, server, way)
    for server in snapshot.servers():
        way = snapshot.machine.ways.get(server.address)
        if way is not None:
            yield from _path(snapshot, server, way)
    if snapshot.daemon and (left_out := snapshot.daemon.count("client_address", "no_room")):
        yield Finding(
            Level.WARNING,
            f"{left_out} packets had no room for the client's address (TOA) "
            f"{snapshot.daemon.age('client_address', 'no_room')}",
            where="services with forward = fullnat",
            remedy="ip link set INTERFACE mtu 1520",
        )


def _inside(snapshot: Snapshot, service: Service, server: Server, way: Way) -> Iterator[Finding]:
    """Want a tunnel to take what IPv6 has everywhere, and what the server has clients of TCP send.

    Clients are told by ICMP what fits, which not all get to hear; a lower MSS needs none.
    """
    tunnel = server.tunnel
    begin = bytes(len(server.address))
    step = Encapsulate(begin, server.address, tunnel.kind, tunnel.port, tunnel.checksum)
    inside = way.mtu - compile_tunnel(step).overhead
    where = f"server {text(server.address)} (tun), interface {way.name}"
    if service.family == 6 and inside < LEAST_IPV6:
        wanted = way.mtu + LEAST_IPV6 - inside
        yield Finding(
            Level.PROBLEM,
            f"the tunnel takes {inside} bytes, and IPv6 needs {LEAST_IPV6}",
            where=where,
            remedy=f"ip link set {way.name} mtu {wanted}",
        )
        return
    asked = questions.syn(snapshot.machine, service, server)
    handshake = snapshot.answers.handshakes.get(asked) if asked else None
    if handshake is None or not handshake.accepted:
        return
    allowed = handshake.mss + HEADERS[len(service.vip)]
    longest = min(allowed, ETHERNET)
    if longest > inside:
        # What is longer than the way from here, the server cannot reckon from its own.
        mss = "auto" if allowed <= way.mtu else str(inside - HEADERS[16])
        yield Finding(
            Level.WARNING,
            f"the server's MSS of {handshake.mss} lets clients send {longest} bytes, the tunnel "
            f"takes {inside}; clients that hear no ICMP errors will hang",
            where=f"service {service.name}, {where}",
            remedy=remedies.up(snapshot, server, mss),
            at=text(server.address),
        )


def _path(snapshot: Snapshot, server: Server, way: Way) -> Iterator[Finding]:
    """Want a packet as long as the way takes to arrive, or somebody to say why not."""
    machine, answers = snapshot.machine, snapshot.answers
    full = questions.full_size(machine, server)
    if full is None or not answers.replied(questions.plain(machine, server)):
        return
    answer = answers.echoes.get(full)
    if answer is not None and not answer.error:
        return
    name = text(server.address)
    where = f"server {name} ({server.mode}), interface {way.name}"
    if answer is not None and answer.mtu:
        yield Finding(
            Level.WARNING,
            f"the path to {name} takes {answer.mtu} bytes, not {full.size}; its routers say so",
            where=where,
            remedy=_lower(server, way, answer.mtu),
        )
        return
    passed = [echo.size for echo in questions.ladder(machine, server) if answers.replied(echo)]
    longest = max(passed, default=0)
    what = f"up to {longest} bytes arrive" if longest else "only short ones arrive"
    yield Finding(
        Level.PROBLEM,
        f"packets of {full.size} bytes to {name} are lost, and nobody says so: {what}",
        where=where,
        remedy=_lower(server, way, longest or LEAST_IPV6),
    )


def _lower(server: Server, way: Way, mtu: int) -> str:
    hop = f"via {text(way.gateway)} " if way.gateway else ""
    prefix = f"{text(server.address)}/{8 * len(server.address)}"
    return f"ip route replace {prefix} {hop}dev {way.name} mtu {mtu}"


CHECK = Check("mtu", "packets of full length get to every real server", look)
