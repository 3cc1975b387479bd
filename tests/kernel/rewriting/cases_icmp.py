"""Cases: ICMP errors about packets of connections, from either side, and about tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel import packets, rig
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.cases_ways import NO_OPERATION, PAD_N, ROUTER_ALERT
from tests.kernel.rewriting.talk import (
    GUE_PORT,
    PROTOCOLS,
    TUNNELS,
    VERSIONS,
    Site,
    Talk,
    dr,
    nat,
    tun,
)
from tests.kernel.scenario import TCP, UDP, Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.rewriting.talk import Case, Tunnel

FEATURE = "ICMP errors"
ABOUT_TUNNELS = "ICMP errors about tunnels"

ERRORS = {
    4: {
        "unreachable": [(3, code) for code in (0, 1, 2, 3, 9, 10, 13)],
        "source quench": [(4, 0)],
        "time exceeded": [(11, 0), (11, 1)],
        "redirect and parameter problem": [(5, 1), (12, 0)],
    },
    6: {
        "unreachable": [(1, code) for code in range(7)],
        "time exceeded": [(3, 0), (3, 1)],
        "parameter problem": [(4, 0), (4, 1), (4, 2)],
        "unknown types": [(100, 0), (127, 0)],
    },
}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
NOTHING = bytes(4)

ROUTERS = {
    Side.CLIENT: {4: rig.GATEWAY[0], 6: rig.GATEWAY[1]},
    Side.SERVER: {4: rig.ROUTER[0], 6: rig.ROUTER[1]},
}
DIRECTOR = dict(zip((4, 6), rig.DIRECTOR[Side.SERVER], strict=True))


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for version in VERSIONS:
        for protocol in PROTOCOLS:
            for kind in ERRORS[version]:
                yield from of_kind(version, protocol, kind)
            yield from about_size(version, protocol)
            yield from shaped(version, protocol)
            yield from passed_by(dr(version, protocol, number=21), "DR")
            yield from passed_by(tun(version, protocol, TUNNELS[0], series=3), "TUN")
    for tunnel in TUNNELS:
        for version in VERSIONS:
            yield from about_tunnel(version, tunnel)


def about_request(talk: Talk, kind: tuple[int, int], rest: bytes, quote: bytes) -> bytes:
    """Return a router's error about a request, on its way to the client."""
    source = ROUTERS[Side.SERVER][talk.site.version]
    return shapes.icmp(source, talk.client, *kind, rest, quote)


def about_reply(talk: Talk, kind: tuple[int, int], rest: bytes, quote: bytes) -> bytes:
    """Return a router's error about a reply, on its way to the VIP."""
    source = ROUTERS[Side.CLIENT][talk.site.version]
    return shapes.icmp(source, talk.site.vip, *kind, rest, quote)


def shortest(data: bytes) -> bytes:
    """Return as little of a packet as may be quoted."""
    return data[: shapes.header_bytes(data) + 8]


def opened(site: Site) -> Talk:
    """Return a talk in which both sides have said something."""
    talk = Talk(site).open()
    talk.answer(talk.reply())
    return talk


def of_kind(version: int, protocol: int, kind: str) -> Iterator[Case]:
    """Yield errors of one kind in both directions, quoting little and much."""
    talk = opened(nat(version, protocol, number=3))
    request, reply = shapes.hops_later(talk.forwarded()), shapes.hops_later(talk.returned())
    long = shapes.hops_later(talk.forwarded(bytes(range(200)) * 2))
    for each in ERRORS[version][kind]:
        for quote in (shortest(request), request, long):
            talk.answer(about_request(talk, each, NOTHING, quote))
        for quote in (shortest(reply), reply):
            talk.say(about_reply(talk, each, NOTHING, quote))
    yield talk.case(FEATURE, kind)


def about_size(version: int, protocol: int) -> Iterator[Case]:
    """Yield errors that tell an MTU, and what comes after."""
    talk = opened(nat(version, protocol, number=4))
    long = bytes(1400)
    request, reply = talk.forwarded(long, ttl=60), talk.returned(long, ttl=60)
    for quote in (shortest(reply), reply[:500]):
        mtu = (1300).to_bytes(4)
        talk.say(about_reply(talk, TOO_BIG[version], mtu, quote))
    for quote in (shortest(request), request[:500]):
        talk.answer(about_request(talk, TOO_BIG[version], (1290).to_bytes(4), quote))
    talk.say(talk.request(long)).answer(talk.reply(long))
    yield talk.case(FEATURE, "too big")


def shaped(version: int, protocol: int) -> Iterator[Case]:
    """Yield errors with other headers, wrong checksums, and odd quotes."""
    kind = (3, 1) if version == 4 else (1, 3)
    site = nat(version, protocol, number=3)
    talk = opened(site)
    request, reply = shapes.hops_later(talk.forwarded()), shapes.hops_later(talk.returned())
    back, forth = (
        about_request(talk, kind, NOTHING, request),
        about_reply(talk, kind, NOTHING, reply),
    )
    for dsfield in (0xC0, 0xFF):
        talk.answer(shapes.with_dsfield(back, dsfield)).say(shapes.with_dsfield(forth, dsfield))
    for hops in (62, 63):
        talk.answer(shapes.hops_later(back, hops)).say(shapes.hops_later(forth, hops))
    talk.answer(back + b"\xa5" * 3).say(forth + b"\xa5" * 5)
    if version == 4:
        talk.answer(shapes.with_options(back, ROUTER_ALERT))
        talk.say(shapes.with_options(forth, NO_OPERATION * 4))
        talk.answer(shapes.refreshed(shapes.with_bytes(back, 6, b"\x40")))
    else:
        talk.answer(shapes.with_extensions(back, (shapes.DESTINATION_OPTIONS, PAD_N)))
        talk.say(shapes.with_extensions(forth, (shapes.HOP_BY_HOP, PAD_N)))
    yield talk.case(FEATURE, "headers")

    talk = opened(site)
    request, reply = shapes.hops_later(talk.forwarded()), shapes.hops_later(talk.returned())
    for spoiled in (1, 0x8000):
        router = ROUTERS[Side.SERVER][version]
        talk.answer(shapes.icmp(router, talk.client, *kind, NOTHING, request, spoiled=spoiled)).say(
            shapes.icmp(router, site.vip, *kind, NOTHING, reply, spoiled=spoiled)
        )
    yield talk.case(FEATURE, "wrong checksums")

    talk = opened(site)
    talk.answer(shapes.icmp(site.rip, talk.client, *kind, NOTHING, talk.forwarded()))
    talk.say(shapes.icmp(talk.client, site.vip, *kind, NOTHING, talk.returned()))
    yield talk.case(FEATURE, "from the ends themselves")

    talk = opened(site)
    for quote in (talk.request(), talk.reply(), talk.forwarded()[:24], b"", bytes(30)):
        talk.answer(about_request(talk, kind, NOTHING, quote))
        talk.say(about_reply(talk, kind, NOTHING, quote))
    yield talk.case(FEATURE, "about packets of no connection")

    talk = opened(site)
    request, reply = talk.forwarded(bytes(400)), talk.returned(bytes(400))
    for first, quotes in ((True, (request, reply)), (False, (request, reply))):
        pieces = [shapes.cut(quote, (200,))[not first] for quote in quotes]
        talk.answer(about_request(talk, kind, NOTHING, pieces[0]))
        talk.say(about_reply(talk, kind, NOTHING, pieces[1]))
    yield talk.case(FEATURE, "about fragments")

    talk = opened(site)
    talk.answer(about_request(talk, kind, NOTHING, _with_more(talk.forwarded())))
    talk.say(about_reply(talk, kind, NOTHING, _with_more(talk.returned())))
    yield talk.case(FEATURE, "about packets with options")

    talk = opened(site)
    talk.answer(*shapes.cut(about_request(talk, kind, NOTHING, talk.forwarded(bytes(400))), (160,)))
    talk.say(*shapes.cut(about_reply(talk, kind, NOTHING, talk.returned(bytes(400))), (160,)))
    yield talk.case(FEATURE, "in fragments")


def _with_more(data: bytes) -> bytes:
    """Return a packet with IP options or extension headers."""
    if shapes.version(data) == 4:
        return shapes.with_options(data, ROUTER_ALERT)
    headers = (shapes.HOP_BY_HOP, PAD_N), (shapes.DESTINATION_OPTIONS, PAD_N)
    return shapes.with_extensions(data, *headers)


def passed_by(site: Site, way: str) -> Iterator[Case]:
    """Yield errors of connections whose replies go past the director."""
    version = site.version
    kind = (3, 1) if version == 4 else (1, 3)
    talk = Talk(site).open()
    reply = shapes.hops_later(talk.returned(bytes(300)))
    too_big = (1300).to_bytes(4)
    for quote in (shortest(reply), reply):
        talk.say(about_reply(talk, kind, NOTHING, quote))
        talk.say(about_reply(talk, TOO_BIG[version], too_big, quote))
    error = about_reply(talk, kind, NOTHING, reply)
    talk.say(shapes.with_dsfield(error, 0xC3), shapes.hops_later(error, 63))
    talk.say(*shapes.cut(error, (160,)))
    talk.answer(about_request(talk, kind, NOTHING, shapes.hops_later(talk.request())))
    yield talk.case(FEATURE, f"{way}: about replies")

    talk = Talk(site).open()
    reply = talk.returned()
    router = ROUTERS[Side.CLIENT][version]
    talk.say(shapes.icmp(router, site.vip, *kind, NOTHING, reply, spoiled=1))
    yield talk.case(FEATURE, f"{way}: wrong checksum")


# --- about tunnels ----------------------------------------------------------------------------


def about_tunnel(version: int, tunnel: Tunnel) -> Iterator[Case]:
    """Yield errors that a router between director and real server sends about a tunnel."""
    outer = tunnel.outer
    kinds = {4: [(3, 0), (3, 1), (3, 3), (11, 0)], 6: [(1, 0), (1, 4), (3, 0), (4, 1)]}[outer]
    talk = Talk(tun(version, UDP, tunnel, series=2)).open()
    wrapped = _wrapped(talk, tunnel, talk.request(bytes(300)))
    for kind in kinds:
        talk.answer(_about(tunnel, kind, NOTHING, wrapped))
    talk.answer(_about(tunnel, kinds[0], NOTHING, shortest(wrapped)))
    talk.answer(_about(tunnel, kinds[0], NOTHING, wrapped[:80]))
    talk.answer(_about(tunnel, kinds[0], NOTHING, wrapped, spoiled=1))
    yield talk.case(ABOUT_TUNNELS, tunnel.name)

    talk = Talk(tun(version, TCP, tunnel, series=2)).open()
    for dont_fragment in (True, False):
        whole = talk.request(bytes(1380), dont_fragment=dont_fragment)
        wrapped = _wrapped(talk, tunnel, whole)
        mtu = (1400).to_bytes(4)
        talk.answer(_about(tunnel, TOO_BIG[outer], mtu, wrapped[:500]))
        if version == outer == 4:
            talk.say(whole, talk.request(bytes(1250), dont_fragment=dont_fragment))
    yield talk.case(ABOUT_TUNNELS, f"{tunnel.name}, too big")


def _about(
    tunnel: Tunnel, kind: tuple[int, int], rest: bytes, quote: bytes, *, spoiled: int = 0
) -> bytes:
    source, destination = ROUTERS[Side.SERVER][tunnel.outer], DIRECTOR[tunnel.outer]
    return shapes.icmp(source, destination, *kind, rest, quote, spoiled=spoiled)


def _wrapped(talk: Talk, tunnel: Tunnel, inner: bytes) -> bytes:
    """Return a packet in its tunnel, as a router finds it; checksums between are left out."""
    inner = shapes.hops_later(inner)
    version = shapes.version(inner)
    ends = DIRECTOR[tunnel.outer], talk.site.rip
    ethertype = b"\x08\x00" if version == 4 else b"\x86\xdd"
    inside = 4 if version == 4 else 41
    df = version == 4 and bool(inner[6] & 0x40)
    ttl = shapes.ttl(inner) - 1
    match tunnel.kind:
        case "gue":
            payload = bytes((0, inside, 0, 0)) + inner
            ports = 50000, GUE_PORT
            return packets.udp(
                ends[0], ports[0], ends[1], ports[1], payload, ttl=ttl, dont_fragment=df
            )
        case "gre":
            flags = b"\x80\x00" if tunnel.checksum else bytes(2)
            payload = flags + ethertype + bytes(4) * tunnel.checksum + inner
            return packets.ip(*ends, 47, payload, ttl=ttl, dont_fragment=df)
    return packets.ip(*ends, inside, inner, ttl=ttl, dont_fragment=df)
