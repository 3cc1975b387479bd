"""Cases: a client and a real server say random things, from a seed, in packets of all shapes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.cases_icmp import ERRORS, NOTHING, about_reply, about_request
from tests.kernel.rewriting.cases_ways import (
    DSFIELDS,
    NARROW,
    NO_OPERATION,
    PAD_N,
    ROUTER_ALERT,
    SEGMENTS_DONE,
    UNKNOWN_OPTION,
)
from tests.kernel.rewriting.talk import PROTOCOLS, TUNNELS, VERSIONS, Talk, dr, nat, tun
from tests.kernel.rig import MTU
from tests.kernel.scenario import SCTP, UDP, Mtu, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.rewriting.talk import Case, Site

FEATURE = "random packets"
PACKETS = 25
WITH_HEADER = 24
"""Bytes of the first fragment at least, so that it has the whole header of its transport."""
OPTIONS = ROUTER_ALERT, NO_OPERATION * 4, UNKNOWN_OPTION, ROUTER_ALERT + NO_OPERATION * 8
EXTENSIONS = (
    (shapes.HOP_BY_HOP, PAD_N),
    (shapes.ROUTING, SEGMENTS_DONE),
    (shapes.DESTINATION_OPTIONS, PAD_N),
)


def cases(number: int) -> Iterator[Case]:
    """Yield so many cases, with the seeds from 1 on, those with the usual MTU first."""
    for narrow in (False, True):
        for seed in range(1, number + 1):
            if (seed % 4 == 0) == narrow:
                yield case(seed, narrow=narrow)


def case(seed: int, *, narrow: bool) -> Case:
    """Return the case of a seed."""
    chance = random.Random(seed)
    site = _site(chance)
    talk = Talk(site).open()
    if site.server is not None and site.server.forward == "nat":
        talk.answer(talk.reply())
    for _ in range(PACKETS):
        _step(chance, talk)
    mtus = [Mtu(Side.SERVER, NARROW)] if narrow else []
    way = "" if site.server is None else site.server.forward
    return talk.case(FEATURE, f"{way}, seed {seed}", mtus)


def _site(chance: random.Random) -> Site:
    version, protocol = chance.choice(VERSIONS), chance.choice(tuple(PROTOCOLS))
    match chance.choice(("nat", "nat", "dr", "tun")):
        case "nat":
            return nat(version, protocol, number=6)
        case "dr":
            return dr(version, protocol, number=23)
    return tun(version, protocol, chance.choice(TUNNELS), series=5)


def _step(chance: random.Random, talk: Talk) -> None:
    """Let one packet come from either side, or an ICMP error, whole or in pieces."""
    server = talk.site.server
    is_nat = server is not None and server.forward == "nat"
    back = is_nat and chance.random() < 0.5
    say = talk.answer if back else talk.say
    if is_nat and chance.random() < 0.15:
        say(_error(chance, talk, back=back))
        return
    # A reply has to fit the narrow network.
    longest = NARROW - 150 if back else NARROW
    data = _packet(chance, talk.reply if back else talk.request, longest)
    # Fragments at their last hop are answered one by one, or once put together.
    if (
        chance.random() < 0.2
        and len(data) > shapes.header_bytes(data) + WITH_HEADER
        and (shapes.ttl(data) > 1)
    ):
        pieces = _pieces(chance, data)
        chance.shuffle(pieces)
        say(*pieces)
        return
    for change in (_marked, _optioned, _spoiled, _padded):
        if chance.random() < 0.3:
            data = change(chance, data)
    say(data)


def _packet(chance: random.Random, make: Callable[..., bytes], longest: int) -> bytes:
    length = chance.choice((0, 1, 2, 3, chance.randrange(100), chance.randrange(longest)))
    ttl = chance.choice((1, 2, 64, 64, 64, 128, 255))
    return make(chance.randbytes(length), ttl=ttl, dont_fragment=chance.random() < 0.5)


def _error(chance: random.Random, talk: Talk, *, back: bool) -> bytes:
    """Return an ICMP error, about a request if it comes from the servers' side."""
    kinds = ERRORS[talk.site.version]
    kind = chance.choice(kinds[chance.choice([name for name in kinds if name != "unknown types"])])
    make, about = (talk.forwarded, about_request) if back else (talk.returned, about_reply)
    quote = shapes.hops_later(make(chance.randbytes(chance.randrange(300))), chance.randint(1, 9))
    shortest = shapes.header_bytes(quote) + 8
    return _marked(chance, about(talk, kind, NOTHING, quote[: chance.randint(shortest, 400)]))


def _pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """Return a packet in pieces of random lengths, without DF."""
    if shapes.version(data) == 4:
        data = shapes.refreshed(shapes.with_bytes(data, 6, bytes(2)))
    left = len(data) - shapes.header_bytes(data) - WITH_HEADER
    sizes = [WITH_HEADER]
    while left > 8 and len(sizes) < 4:
        sizes.append(8 * chance.randint(1, (left - 1) // 8))
        left -= sizes[-1]
    return shapes.cut(data, sizes)


def _marked(chance: random.Random, data: bytes) -> bytes:
    if shapes.version(data) == 6:
        data = shapes.with_flow_label(data, chance.getrandbits(20))
    return shapes.with_dsfield(data, chance.choice(DSFIELDS))


def _optioned(chance: random.Random, data: bytes) -> bytes:
    if len(data) > MTU - 60:
        return data
    if shapes.version(data) == 4:
        return shapes.with_options(data, chance.choice(OPTIONS))
    headers = [each for each in EXTENSIONS if chance.random() < 0.6]
    return shapes.with_extensions(data, *headers)


def _spoiled(chance: random.Random, data: bytes) -> bytes:
    """Return a packet with another checksum; that of SCTP is 4 bytes."""
    protocol = shapes.protocol(data)
    if protocol not in PROTOCOLS or (shapes.version(data) == 4 and data[0] != 0x45):
        return data
    value = chance.randbytes(4 if protocol == SCTP else 2)
    if protocol == UDP and not any(value):
        return data
    return shapes.with_transport_checksum(data, value)


def _padded(chance: random.Random, data: bytes) -> bytes:
    return data + chance.randbytes(chance.randrange(18)) if len(data) < MTU - 18 else data
