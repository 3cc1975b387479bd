"""Every packet of a conversation is at every hop what its mode's table says, field by field."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.capture import finish_checksums
from tests.netns.modes.hops import ADDRESS_OPTIONS, ANY, Captures, Place, captured, packed
from tests.netns.modes.hops_expected import outer_seen, table
from tests.netns.modes.hops_fullnat import UOA_KIND
from tests.netns.modes.hops_table import (
    DATA,
    EARLY,
    FIN,
    HANDSHAKE,
    LATER,
    SYN,
    UOA_DATAGRAMS,
    Talk,
    kind,
)
from tests.netns.modes.hops_talk import CASES, DATAGRAMS, WAYS, prepare, talk
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.modes.hops import Fields
    from tests.netns.modes.hops_table import Hop
    from tests.netns.modes.hops_talk import Case
    from tests.netns.traffic.site import Family

PROTOCOLS = ("tcp", "udp")
NUMBERS = ("seq", "ack", "flags")
"""An ACK comes before data with the same numbers, as that has PSH."""

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def hop_lab() -> Iterator[Lab]:
    """Build a lab with a real server of each way, of TUN one per kind of tunnel."""
    with Lab(name="lvsd-hops", ways=WAYS) as lab:
        prepare(lab)
        for space in (lab.client, *lab.servers):
            finish_checksums(space)
        yield lab


@pytest.fixture(scope="module")
def captures(hop_lab: Lab) -> Captures:
    """Capture one conversation of every case, over every family and protocol."""
    lab = hop_lab
    places = [
        Place("client", "eth0"),
        *(Place("director", interface) for interface in ("front", "back")),
        *(Place("router", interface) for interface in ("front", "back", "far")),
        *(Place(space.host, "eth0") for space in lab.servers),
        *(Place(space.host, ANY) for space in lab.servers if space.way == "tun"),
    ]
    all_of_them = [
        (case, family, protocol) for case in CASES for family in FAMILIES for protocol in PROTOCOLS
    ]
    tables = [case.table(lab, family, protocol) for case, family, protocol in all_of_them]
    with captured(lab, places) as captures, running(lab, *tables):
        for each in all_of_them:
            talk(lab, *each)
    return captures


@pytest.fixture(params=BY_NAME)
def case(request: pytest.FixtureRequest) -> Case:
    """Run the test for every case."""
    return BY_NAME[request.param]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """Run the test over TCP and over UDP."""
    return str(request.param)


@pytest.fixture
def conversation(
    hop_lab: Lab, captures: Captures, case: Case, family: Family, protocol: str
) -> Talk:
    """Return who talked: the client's port, and what FULLNAT made of the ends."""
    ports = {case.vport, case.rport}

    def first(host: str) -> Fields:
        place = Place(host, "eth0")
        return captures.packets(place, family, protocol, ports, replies=False)[0]

    sent = first("client")
    client = sent["source"], sent["source_port"]
    if case.way != "fullnat":
        return Talk(hop_lab, case, family, protocol, client)
    seen = first(case.server(hop_lab).host)
    shift = seen["seq"] - sent["seq"] if protocol == "tcp" else 0
    local = of(hop_lab.local_addresses[0], family), seen["source_port"]
    return Talk(hop_lab, case, family, protocol, client, local, shift)


def packets(captures: Captures, conversation: Talk, hop: Hop, *, replies: bool) -> list[Fields]:
    """Return the packets of a conversation at a hop, in one direction."""
    case = conversation.case
    found = captures.packets(
        hop.place,
        conversation.family,
        conversation.protocol,
        {case.vport, case.rport},
        replies=replies,
    )
    return outer_seen(found)


@pytest.mark.parametrize("replies", [False, True], ids=["request", "reply"])
def test_each_hop_changes_what_its_table_says_and_nothing_else(
    captures: Captures, conversation: Talk, *, replies: bool
) -> None:
    hops = table(conversation).reply if replies else table(conversation).request
    sent = packets(captures, conversation, hops[0], replies=replies)
    kinds = [kind(number, packet) for number, packet in enumerate(sent)]

    seen = {hop.place: packets(captures, conversation, hop, replies=replies) for hop in hops}

    assert {place: in_order(found) for place, found in seen.items()} == {
        hop.place: in_order(
            [hop.expected(packet, kind) for packet, kind in zip(sent, kinds, strict=True)]
        )
        for hop in hops
    }


def in_order(found: list[Fields]) -> list[Fields]:
    """Return packets of TCP by their numbers: an ACK by one processor may overtake another's data.

    Datagrams, of which each waits for the one before, stay in the order that they came in.
    """
    return sorted(found, key=lambda packet: [packet[name] for name in NUMBERS if name in packet])


def test_every_kind_of_packet_was_sent(captures: Captures, conversation: Talk) -> None:
    """Hold the test above to what it is meant to see."""
    both = [
        packets(captures, conversation, hops[0], replies=replies)
        for replies, hops in (
            (False, table(conversation).request),
            (True, table(conversation).reply),
        )
    ]
    kinds = [{kind(number, packet) for number, packet in enumerate(sent)} for sent in both]

    if conversation.protocol == "udp":
        assert [len(sent) for sent in both] == [DATAGRAMS, DATAGRAMS]
        assert kinds == [{EARLY, LATER}] * 2
    else:
        assert kinds[0] >= {SYN, HANDSHAKE, DATA, FIN}
        assert kinds[1] >= {SYN, DATA, FIN}


def test_replies_of_dr_and_tun_bypass_the_director(captures: Captures, conversation: Talk) -> None:
    case, talk = conversation.case, conversation
    passing = [
        packet
        for interface in ("front", "back")
        for packet in captures.packets(
            Place("director", interface), talk.family, talk.protocol, {case.vport}, replies=True
        )
    ]

    assert bool(passing) == (case.way in {"nat", "fullnat"})


@pytest.mark.parametrize("host", ["director", "server6"])
def test_uoa_over_ipv6_goes_ahead_in_packets_of_its_own(
    hop_lab: Lab, captures: Captures, host: str
) -> None:
    case = BY_NAME["fullnat-toa"]
    place = Place(host, "back" if host == "director" else "eth0")
    lip, rip = of(hop_lab.local_addresses[0], "v6"), case.rip(hop_lab, "v6")
    [sent, *_] = captures.packets(Place("client", "eth0"), "v6", "udp", {case.vport}, replies=False)
    [seen, *_] = captures.packets(place, "v6", "udp", {case.rport}, replies=False)

    found = captures.bytes_of(place, "v6", ADDRESS_OPTIONS)

    # Version 2, UDP follows, 24 bytes; UOA; an empty datagram without a checksum.
    header = bytes((0x20, socket.IPPROTO_UDP)) + (24).to_bytes(2, "big")
    option = struct.pack("!BBH", UOA_KIND, 20, sent["source_port"]) + packed(sent["source"])
    datagram = struct.pack("!HHHH", seen["source_port"], case.rport, 8, 0)
    start = struct.pack(
        "!IHBB", 6 << 28 | sent["tos"] << 20 | sent["flow_label"], 32, 248, seen["ttl"]
    )
    whole = start + packed(lip) + packed(rip) + header + option + datagram
    assert found == [whole] * UOA_DATAGRAMS
