"""Cases: packets whose lengths lie, and what the host itself has to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel import packets
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.talk import PROTOCOLS, VERSIONS, Site, Talk, dr, nat
from tests.kernel.scenario import TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.rewriting.talk import Case

ECHO = {4: 8, 6: 128}


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for version in VERSIONS:
        for protocol in PROTOCOLS:
            yield from lying(nat(version, protocol, number=5), "NAT")
            yield from lying(dr(version, protocol, number=22), "DR")
        yield the_hosts(version)


def lying(site: Site, feature: str) -> Iterator[Case]:
    """Yield packets whose transport headers say another length than they have."""
    talk = Talk(site).open()
    whole = talk.request(b"12345678")
    header = shapes.header_bytes(whole)
    if site.protocol == UDP:
        for length in (0, 7, 8, 12, 15, 17, 100, 0xFFFF):
            talk.say(shapes.with_bytes(whole, header + 4, length.to_bytes(2)))
    elif site.protocol == TCP:
        for words in (0, 4, 5, 6, 7, 8, 15):
            talk.say(shapes.with_bytes(whole, header + 12, bytes((words << 4,))))
    for length in (4, 7, 8, 11, 12, 16, 19):
        talk.say(shapes.refreshed(whole[: header + length]))
    yield talk.case(feature, "lengths that lie")


def the_hosts(version: int) -> Case:
    """Return a case of what is for the VIP, but not for the service."""
    site = nat(version, TCP, number=5)
    talk = Talk(site)
    talk.say(shapes.icmp(talk.client, site.vip, ECHO[version], 0, b"\x12\x34\x00\x01", b"echo"))
    talk.say(packets.tcp(talk.client, talk.port, site.vip, 81, "S"))
    talk.say(packets.udp(talk.client, talk.port, site.vip, 81))
    for flags in ("A", "FA", "SA", "PA"):
        talk.say(packets.tcp(talk.client, talk.port + 1, site.vip, 80, flags))
    talk.say(packets.tcp(talk.client, talk.port + 1, site.vip, 80, "R"))
    return talk.case("the host's own", "no service of ours")
