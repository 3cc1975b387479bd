"""Frames taken apart: every header, every field, and where each lies. For any bytes; none raise.

The layers follow one another without a gap and cover the frame. What is inside a tunnel is called
"inner IPv4", what an ICMP error quotes "quoted IPv4". What no header says anything of is "payload",
and behind a packet's end "padding". A frame with something wrong in it has one layer "malformed"
that says what; it begins where no more could be told, and has no bytes if only some are missing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.explain.headers.cursor import Cursor, Follow
from lvsd.explain.headers.ethernet import ARP, IPV4, IPV6, TAGS, arp, ethernet, tag
from lvsd.explain.headers.icmp import icmp, icmpv6
from lvsd.explain.headers.ip import authentication, ipv4, ipv6
from lvsd.explain.headers.transport import sctp, tcp, udp
from lvsd.explain.headers.tunnels import gre, inside, option_protocol
from lvsd.explain.model import Frame
from lvsd.packet.client_address import OPTION_PROTOCOL
from lvsd.packet.numbers import AUTHENTICATION, ICMP, ICMPV6, SCTP, TCP, UDP
from lvsd.packet.tunnel import GRE, IPV4_INSIDE, IPV6_INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    _Parse: TypeAlias = Callable[[Cursor], Follow | None]


def dissect(data: bytes, *, gue_ports: Collection[int] = ()) -> Frame:
    """Take an Ethernet frame apart; a UDP datagram to one of ``gue_ports`` is taken for GUE."""
    return _run(ethernet, data, gue_ports)


def dissect_packet(data: bytes) -> Frame:
    """Take an IP packet apart that has no Ethernet header, as `dissect` does."""
    return _run(ipv6 if data[:1] >= b"\x60" else ipv4, data, ())


def _run(parse: _Parse, data: bytes, gue_ports: Collection[int]) -> Frame:
    c = Cursor(data, gue_ports)
    following: _Parse | None = parse
    while following is not None:
        follow = following(c)
        following = follow and _PARSERS.get(follow)
    c.close()
    return Frame(data, tuple(c.layers))


def _authentication(c: Cursor) -> Follow | None:
    number = authentication(c)
    return None if number is None else Follow("protocol", number)


_PARSERS: Final[dict[Follow, _Parse]] = {
    Follow("ethertype", IPV4): ipv4,
    Follow("ethertype", IPV6): ipv6,
    Follow("ethertype", ARP): arp,
    **{Follow("ethertype", number): tag for number in TAGS},
    Follow("protocol", TCP): tcp,
    Follow("protocol", UDP): udp,
    Follow("protocol", SCTP): sctp,
    Follow("protocol", ICMP): icmp,
    Follow("protocol", ICMPV6): icmpv6,
    Follow("protocol", GRE): gre,
    Follow("protocol", IPV4_INSIDE): partial(inside, ethertype_=IPV4),
    Follow("protocol", IPV6_INSIDE): partial(inside, ethertype_=IPV6),
    Follow("protocol", OPTION_PROTOCOL): option_protocol,
    Follow("protocol", AUTHENTICATION): _authentication,
}
