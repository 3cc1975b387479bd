"""What real servers are asked, and by which packet; checks look the answers up by the same words.

An echo "from outside" comes from an address that is in none of our networks: 198.18.0.1 (RFC 2544)
or 2001:2::1 (RFC 5180), of networks that are set aside for tests. Where its reply goes, a client's
does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders.plan import Encapsulate
from lvsd.doctor.snapshot import Ask, Echo, Syn
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Machine, Server, Service, Snapshot

OUTSIDE: Final = {4: pack("198.18.0.1"), 6: pack("2001:2::1")}

_LONGEST: Final = 0xFFFF
_LADDER: Final = (8980, 4470, 1500, 1492, 1480, 1476, 1460, 1450, 1420, 1400, 1350, 1300, 1280)
"""Lengths in bytes that paths are found to take; the longest that gets through is near enough."""


def next_hops(snapshot: Snapshot) -> Iterator[Ask]:
    """Yield who has the next hop to each real server that is reached over Ethernet."""
    for _, server in snapshot.members():
        if ask := next_hop(snapshot.machine, server):
            yield ask


def next_hop(machine: Machine, server: Server) -> Ask | None:
    """Ask for the MAC that packets to a real server go to; None where there is none."""
    way = machine.ways.get(server.address)
    if way is None or not way.is_ethernet:
        return None
    hop = way.gateway or server.address
    source = _source(machine, server.address)
    if source is None or len(source) != len(hop):
        return None
    return Ask(way.name, hop, source)


def owners(snapshot: Snapshot) -> Iterator[Ask]:
    """Yield who has a virtual address, on each link that leads straight to DR or TUN servers."""
    machine = snapshot.machine
    for service, server in snapshot.members("dr", "tun"):
        way = machine.ways.get(server.address)
        if way is None or way.gateway or not way.is_ethernet or not service.vip:
            continue
        source = _speaker(machine, server, service)
        if source is not None:
            yield Ask(way.name, service.vip, source)


def plain(machine: Machine, server: Server) -> Echo | None:
    """Ask a real server from the address that this host speaks to it from."""
    source = _source(machine, server.address)
    return Echo(source, server.address) if source else None


def full_size(machine: Machine, server: Server) -> Echo | None:
    """Ask it by a packet as long as the way there takes."""
    echo, way = plain(machine, server), machine.ways.get(server.address)
    return echo._replace(size=min(way.mtu, _LONGEST)) if echo and way else None


def ladder(machine: Machine, server: Server) -> list[Echo]:
    """Ask it by packets of several lengths below the full one, longest first."""
    full = full_size(machine, server)
    return [full._replace(size=size) for size in _LADDER if full and size < full.size]


def from_outside(server: Server) -> Echo:
    """Ask a NAT server as a client would."""
    return Echo(OUTSIDE[_family(server.address)], server.address)


def from_local(server: Server, local: bytes) -> Echo | None:
    """Ask a FULLNAT server from a local address; None when they are of two families."""
    return Echo(local, server.address) if len(local) == len(server.address) else None


def virtual(machine: Machine, service: Service, server: Server) -> Echo | None:
    """Ask a DR or TUN server at its virtual address; None where there is no way to."""
    source = _speaker(machine, server, service)
    return _carried(machine, server, source, service.vip) if source and service.vip else None


def virtual_from_outside(machine: Machine, service: Service, server: Server) -> Echo | None:
    """Ask it there as a client would."""
    if not service.vip:
        return None
    return _carried(machine, server, OUTSIDE[_family(service.vip)], service.vip)


def quiet(snapshot: Snapshot) -> set[Echo]:
    """Return the echoes whose replies do not come here where all is well: they bypass it."""
    found = (
        virtual_from_outside(snapshot.machine, service, server)
        for service, server in snapshot.members("dr", "tun")
    )
    return {echo for echo in found if echo}


def syn(machine: Machine, service: Service, server: Server) -> Syn | None:
    """Ask a DR or TUN server for a connection there; None for what has no port of TCP, or no way.

    The source is this host's own address: the answer comes straight here.
    """
    echo = virtual(machine, service, server)
    if echo is None or service.protocol != "tcp" or not service.port:
        return None
    return Syn(echo.source, echo.destination, service.port, echo.neighbour, echo.tunnel)


def syns(snapshot: Snapshot) -> Iterator[Syn]:
    """Yield every SYN."""
    for service, server in snapshot.members("dr", "tun"):
        if snapshot.machine.ways.get(server.address) is None:
            continue
        if asked := syn(snapshot.machine, service, server):
            yield asked


def echoes(snapshot: Snapshot) -> Iterator[Echo]:
    """Yield every echo, but for the ladders."""
    machine = snapshot.machine
    for service, server in snapshot.members():
        if machine.ways.get(server.address) is None:
            continue
        found = [plain(machine, server), full_size(machine, server)]
        match server.mode:
            case "nat":
                found.append(from_outside(server))
            case "fullnat":
                own = [each for each in service.local_addresses if each in machine.addresses]
                found += [from_local(server, local) for local in own]
            case _:
                found.append(virtual(machine, service, server))
                found.append(virtual_from_outside(machine, service, server))
        yield from (echo for echo in found if echo)


def _carried(machine: Machine, server: Server, source: bytes, vip: bytes) -> Echo | None:
    """Return an echo that travels as a client's packet does to this server."""
    if server.mode == "dr":
        ask = next_hop(machine, server)
        on_link = ask is not None and ask.address == server.address
        return Echo(source, vip, neighbour=server.address) if on_link else None
    begin = _source(machine, server.address)
    if begin is None:
        return None
    tunnel = server.tunnel
    step = Encapsulate(begin, server.address, tunnel.kind, tunnel.port, tunnel.checksum)
    return Echo(source, vip, tunnel=step)


def _source(machine: Machine, address: bytes) -> bytes | None:
    return machine.sources.get(address)


def _speaker(machine: Machine, server: Server, service: Service) -> bytes | None:
    """Return one of our addresses, of the service's family, that the server's answers can find."""
    source = _source(machine, server.address)
    if source is None or len(source) == len(service.vip):
        return source
    way = machine.ways.get(server.address)
    suitable = [
        address
        for address, names in sorted(machine.addresses.items())
        if len(address) == len(service.vip) and way is not None and way.name in names
        if address != service.vip and not address.startswith(b"\xfe\x80")
    ]
    return suitable[0] if suitable else None


def _family(address: bytes) -> int:
    return 4 if len(address) == 4 else 6
