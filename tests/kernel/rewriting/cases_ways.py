"""Cases: what requests and replies look like after NAT, DR and each kind of tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel import packets
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.talk import (
    PROTOCOLS,
    TUNNELS,
    VERSIONS,
    Site,
    Talk,
    dr,
    nat,
    nobody,
    tun,
)
from tests.kernel.scenario import SCTP, TCP, UDP, Mtu, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.rewriting.talk import Case, Tunnel

DSFIELDS = 0x00, 0x01, 0x02, 0x03, 0xB8, 0xBB, 0xFF
"""Each way of ECN, and expedited forwarding, and all bits."""

NO_OPERATION, END = b"\x01", b"\x00"
ROUTER_ALERT = b"\x94\x04\x00\x00"
RECORD_ROUTE = b"\x07\x0b\x04" + bytes(8) + END
TIMESTAMP = b"\x44\x0c\x05\x00" + bytes(8)
UNKNOWN_OPTION = b"\x9e\x04\x12\x34"
LOOSE_ROUTE = b"\x83\x07\x04\x0a\x00\x00\x05" + END

PAD_N = shapes.extension(b"\x01\x04" + bytes(4))
SEGMENTS_DONE = shapes.extension(b"\x04\x00" + bytes(4) + bytes(16))
"""A routing header that has no segment left to go to."""

TCP_OPTIONS = b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\x08\x0a" + bytes(8) + NO_OPERATION * 2

NARROW = 1400


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for version in VERSIONS:
        for protocol in PROTOCOLS:
            yield from way("NAT", nat(version, protocol), replies=True)
            yield from way("DR", dr(version, protocol))
            yield from refused(version, protocol)
        yield same_port(version)
        yield from checksums(version)
        yield from odd_headers(nat(version, TCP), "NAT")
        yield from odd_headers(dr(version, TCP), "DR")
    for tunnel in TUNNELS:
        for version in VERSIONS:
            for protocol in (TCP, UDP) if tunnel.kind != "ipip" else PROTOCOLS:
                yield from tunnelled(version, protocol, tunnel)
    for version in VERSIONS:
        yield from odd_headers(tun(version, TCP, TUNNELS[0]), "TUN ipip")
        yield from odd_headers(tun(version, TCP, TUNNELS[5]), "TUN gue")


def way(feature: str, site: Site, *, replies: bool = False) -> Iterator[Case]:
    """Yield what every way of forwarding has to do to packets of every protocol."""
    talk = Talk(site).open()
    for payload in (b"", b"a", b"ab", b"abc" * 100, bytes(range(256)) * 5):
        talk.say(talk.request(payload))
        if replies:
            talk.answer(talk.reply(payload[::-1]))
    yield talk.case(feature, "payloads")

    talk = Talk(site).open()
    for dsfield in DSFIELDS:
        talk.say(shapes.with_dsfield(talk.request(), dsfield))
        if replies:
            talk.answer(shapes.with_dsfield(talk.reply(), dsfield))
    yield talk.case(feature, "DSCP and ECN")

    talk = Talk(site).open()
    for ttl in (255, 3, 2):
        talk.say(talk.request(ttl=ttl), talk.request(ttl=ttl, dont_fragment=False))
        if replies:
            talk.answer(talk.reply(ttl=ttl), talk.reply(ttl=ttl, dont_fragment=False))
    yield talk.case(feature, "TTL and DF")

    talk = Talk(site).open()
    for ttl in (1, 0):
        talk.say(talk.request(ttl=ttl), talk.request(bytes(1400), ttl=ttl))
        if replies:
            talk.answer(talk.reply(ttl=ttl))
    yield talk.case(feature, "TTL at its end")

    talk = Talk(site).open()
    talk.say(talk.request() + b"\xa5" * 7, talk.request(b"") + bytes(6))
    if replies:
        talk.answer(talk.reply() + b"\xa5" * 3)
    yield talk.case(feature, "padding")

    yield from fragments(feature, site, replies=replies)
    yield from too_long(feature, site)


def fragments(feature: str, site: Site, *, replies: bool = False) -> Iterator[Case]:
    """Yield packets that come in pieces."""
    orders = {
        "in order": (0, 1, 2),
        "last first": (2, 1, 0),
        "first last": (1, 2, 0),
        "one of them twice": (0, 1, 1, 2),
        "the first one missing": (1, 2),
    }
    for name, order in orders.items():
        talk = Talk(site).open()
        pieces = shapes.cut(talk.request(bytes(range(200)) * 5, dont_fragment=False), (480, 24))
        talk.say(*(pieces[number] for number in order))
        if replies:
            back = shapes.cut(talk.reply(bytes(range(250)) * 4, dont_fragment=False), (8, 800))
            talk.answer(*(back[number] for number in order))
        yield talk.case(feature, f"fragments, {name}")
    for dont_fragment in (True, False):
        talk = Talk(site).open()
        whole = talk.request(b"fragment" * 500, dont_fragment=dont_fragment)
        talk.say(*shapes.cut(whole, (1480, 1480) if site.version == 4 else (1448, 1448)))
        if replies:
            whole = talk.reply(b"fragment" * 500, dont_fragment=dont_fragment)
            talk.answer(*shapes.cut(whole, (1000, 1000, 1000)))
        yield talk.case(feature, f"fragments of a long packet, DF {dont_fragment:d}")
    talk = Talk(site)
    talk.say(*shapes.cut(talk.request(b"fragment" * 30, dont_fragment=False), (64,)))
    yield talk.case(feature, "fragments begin")


def too_long(feature: str, site: Site) -> Iterator[Case]:
    """Yield packets that are too long for a narrow network of real servers."""
    narrow = [Mtu(Side.SERVER, NARROW)]
    header = len(Talk(site).request(b""))
    for name, length in (("just fits", NARROW), ("just too long", NARROW + 1), ("long", 1500)):
        talk = Talk(site).open()
        payload = bytes(length - header)
        talk.say(talk.request(payload), talk.request(payload, dont_fragment=False))
        talk.say(talk.request(payload))
        yield talk.case(feature, f"MTU {NARROW}, {name}", narrow)


def same_port(version: int) -> Case:
    """Return a case in which the ports stay as they are."""
    talk = Talk(nat(version, UDP, number=2, rport=80))
    talk.say(talk.request()).answer(talk.reply())
    return talk.case("NAT", "the port stays")


def checksums(version: int) -> Iterator[Case]:
    """Yield packets whose transport checksums are wrong, missing, or come out as zero."""
    for protocol in PROTOCOLS:
        for site, feature in ((nat(version, protocol), "NAT"), (dr(version, protocol), "DR")):
            talk = Talk(site).open()
            width = 4 if protocol == SCTP else 2
            for value in (bytes(width), b"\xff" * width, b"\x12\x34\x56\x78"[:width]):
                talk.say(shapes.with_transport_checksum(talk.request(), value))
                if feature == "NAT":
                    talk.answer(shapes.with_transport_checksum(talk.reply(), value))
            yield talk.case(feature, "checksums 0, ffff and wrong")
        if protocol != SCTP:
            talk = Talk(nat(version, protocol)).open()
            talk.say(*(talk.request(_summing(make)) for make in (talk.forwarded, talk.request)))
            talk.answer(*(talk.reply(_summing(make)) for make in (talk.returned, talk.reply)))
            yield talk.case("NAT", "checksums that become 0")


def _summing(make: Callable[[bytes], bytes]) -> bytes:
    """Return a payload with which a packet's checksum is 0, or stands for it."""
    return shapes.transport_checksum(make(bytes(2))).to_bytes(2)


def odd_headers(site: Site, feature: str) -> Iterator[Case]:
    """Yield packets with options, extension headers and odd fields."""
    talk = Talk(site).open()
    ends = talk.client, talk.port, site.vip, site.service.port
    talk.say(_with_tcp_options(ends))
    yield talk.case(feature, "TCP options")
    if site.version == 4:
        kinds = {
            "no operation": NO_OPERATION * 3 + END,
            "router alert": ROUTER_ALERT,
            "record route": RECORD_ROUTE,
            "timestamp": TIMESTAMP,
            "an unknown option": UNKNOWN_OPTION,
            "loose source route": LOOSE_ROUTE,
        }
        for name, options in kinds.items():
            talk = Talk(site).open()
            talk.say(shapes.with_options(talk.request(), options))
            talk.say(shapes.with_options(talk.request(ttl=1), options))
            if feature == "NAT":
                talk.answer(shapes.with_options(talk.reply(), options))
            yield talk.case(feature, f"IP option: {name}")
        talk = Talk(site).open()
        for number in (0, 1, 0xFFFF):
            talk.say(shapes.with_identification(talk.request(dont_fragment=False), number))
        talk.say(shapes.refreshed(shapes.with_bytes(talk.request(), 6, b"\x80")))
        yield talk.case(feature, "identification and the reserved bit")
        talk = Talk(site).open()
        talk.say(shapes.with_bytes(talk.request(), 10, b"\x12\x34"))
        yield talk.case(feature, "a wrong header checksum")
        return
    headers = {
        "hop-by-hop options": ((shapes.HOP_BY_HOP, PAD_N),),
        "destination options": ((shapes.DESTINATION_OPTIONS, PAD_N),),
        "a routing header": ((shapes.ROUTING, SEGMENTS_DONE),),
        "an atomic fragment": ((shapes.FRAGMENT, bytes(4) + b"\x12\x34\x56\x78"),),
        "three of them": (
            (shapes.HOP_BY_HOP, PAD_N),
            (shapes.ROUTING, SEGMENTS_DONE),
            (shapes.DESTINATION_OPTIONS, PAD_N),
        ),
    }
    for name, extensions in headers.items():
        talk = Talk(site).open()
        talk.say(shapes.with_extensions(talk.request(), *extensions))
        if feature == "NAT":
            talk.answer(shapes.with_extensions(talk.reply(), *extensions))
        yield talk.case(feature, f"extension headers: {name}")
    talk = Talk(site).open()
    talk.say(shapes.with_flow_label(talk.request(), 0xABCDE))
    yield talk.case(feature, "flow label")


def _with_tcp_options(ends: tuple[str, int, str, int]) -> bytes:
    return packets.tcp(*ends, "PA", b"data", options=TCP_OPTIONS, seq=0xFFFFFFF0)


def tunnelled(version: int, protocol: int, tunnel: Tunnel) -> Iterator[Case]:
    """Yield what a tunnel has to do."""
    site = tun(version, protocol, tunnel)
    feature = f"TUN {tunnel.kind}"
    name = f"{tunnel.name}, "
    talk = Talk(site).open()
    for payload in (b"", b"a", bytes(range(256)) * 5):
        talk.say(talk.request(payload), talk.request(payload, dont_fragment=False))
    for dsfield in DSFIELDS:
        talk.say(shapes.with_dsfield(talk.request(), dsfield))
    talk.say(talk.request(ttl=255), talk.request(ttl=2), talk.request() + b"\xa5" * 5)
    yield talk.case(feature, name + "plain")

    talk = Talk(tun(version, protocol, tunnel, series=1)).open()
    yield talk.say(talk.request()).case(feature, name + "behind a router")

    talk = Talk(site).open()
    talk.say(talk.request(ttl=1))
    yield talk.case(feature, name + "TTL at its end")

    header = len(talk.request(b""))
    overhead = (20 if tunnel.outer == 4 else 40) + {
        ("ipip", False): 0,
        ("gue", False): 12,
        ("gue", True): 12,
        ("gre", False): 4,
        ("gre", True): 8,
    }[tunnel.kind, tunnel.checksum]
    for length, how in ((1500 - overhead, "just fits"), (1501 - overhead, "too long")):
        talk = Talk(site).open()
        payload = bytes(number % 251 for number in range(length - header))
        talk.say(talk.request(payload), talk.request(payload, dont_fragment=False))
        yield talk.case(feature, name + how)

    talk = Talk(site).open()
    pieces = shapes.cut(talk.request(b"fragment" * 40, dont_fragment=False), (80, 80))
    talk.say(*pieces)
    long = shapes.cut(talk.request(b"fragment" * 400, dont_fragment=False), (1200, 1200))
    talk.say(*reversed(long))
    yield talk.case(feature, name + "fragments")


def refused(version: int, protocol: int) -> Iterator[Case]:
    """Yield requests to a service without real servers."""
    site = nobody(version, protocol)
    talk = Talk(site)
    opening = talk.opening()
    talk.say(opening, talk.opening(ttl=1), talk.opening(dont_fragment=False))
    talk.say(*(shapes.with_dsfield(opening, dsfield) for dsfield in DSFIELDS))
    if version == 4:
        talk.say(shapes.with_options(opening, ROUTER_ALERT))
    if protocol == UDP:
        for length in (0, 1, 519, 520, 521, 1183, 1184, 1185, 1400):
            talk.say(talk.request(bytes(length)))
        talk.say(*shapes.cut(talk.request(bytes(900), dont_fragment=False), (400,)))
    yield talk.case("no server", "refused")
    if protocol == TCP:
        talk = Talk(site)
        yield talk.say(talk.request()).case("no server", "no connection")
