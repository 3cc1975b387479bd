"""One connection through the director: every packet good, every change explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether

from forwarders.plan import Renumber
from lvsd.explain import explain
from lvsd.explain.sums import result
from tests.unit.explain.cases import CASES, said
from tests.unit.explain.checksum_faults import checksum_faults

if TYPE_CHECKING:
    from lvsd.explain import Explanation, Hop, Journey


def hops(told: Explanation) -> list[tuple[Journey, Hop]]:
    return [(journey, hop) for journey in told.journeys for hop in journey.hops]


def last(told: Explanation, title: str) -> Hop:
    """Return where a packet ends up."""
    return next(journey.hops[-1] for journey in told.journeys if journey.title == title)


def value(hop: Hop, layer: str, field: str) -> str:
    found = hop.frame.get(layer)
    assert found
    named = found.get(field)
    assert named
    return named.text


@pytest.mark.parametrize("case", CASES, ids=said)
def test_every_change_has_a_cause_and_every_step_changes_something(case: dict[str, Any]) -> None:
    told = explain(**case)
    assert told.plan
    changes = [change for _, hop in hops(told) for change in hop.changes]
    assert [change for change in changes if change.cause.kind == "unknown"] == []
    steps = {*told.plan.request, *(told.plan.reply or ())}
    if told.protocol == "udp":
        steps = {step for step in steps if not isinstance(step, Renumber)}  # TCP's alone
    assert steps - {change.cause.step for change in changes} == set()


@pytest.mark.parametrize("case", CASES, ids=said)
def test_every_packet_is_good_wherever_it_is_seen(case: dict[str, Any]) -> None:
    for journey, hop in hops(explain(**case)):
        where = f"{journey.title}, {hop.host} {hop.title}"
        assert [layer.name for layer in hop.frame.layers if layer.name == "malformed"] == [], where
        assert checksum_faults(hop.frame) == [], where
        frame = Ether(hop.frame.data)
        sums = [layer.chksum for layer in _summed(frame)]
        for layer in _summed(frame):
            del layer.chksum
        again = Ether(bytes(frame))
        assert sums == [layer.chksum for layer in _summed(again)], where


def _summed(frame: Ether) -> list[Any]:
    """Return scapy's layers that have a checksum, outermost first, but for UDP without one."""
    layers = []
    layer = frame
    while layer:
        if isinstance(layer, IP | TCP) or (isinstance(layer, UDP) and layer.chksum):
            layers.append(layer)
        layer = layer.payload
    return layers


@pytest.mark.parametrize("case", CASES, ids=said)
def test_the_arithmetic_leads_to_the_checksum_in_the_packet(case: dict[str, Any]) -> None:
    sums = [one for journey in explain(**case).journeys for one in journey.sums]
    assert [(result(one), one.whole) for one in sums] == [(one.after, one.after) for one in sums]
    keeps = case["ipv6"] and case["mode"] in {"dr", "tun"}  # all that is in a checksum there
    assert sums or keeps


@pytest.mark.parametrize("case", CASES, ids=said)
def test_the_client_sees_the_virtual_service_and_nobody_else(case: dict[str, Any]) -> None:
    told = explain(**case)
    replies = [journey.hops[-1] for journey in told.journeys if journey.direction == "reply"]
    seen = {
        (layer.src, transport.sport)
        for frame in (Ether(hop.frame.data) for hop in replies)
        for layer in (frame[IPv6] if IPv6 in frame else frame[IP],)
        for transport in (layer[TCP] if TCP in layer else layer[UDP],)
    }
    address, _, port = told.virtual.rpartition(":")
    assert seen == {(address.strip("[]"), int(port))}


@pytest.mark.parametrize("case", CASES, ids=said)
def test_the_real_server_gets_what_the_client_sent(case: dict[str, Any]) -> None:
    told = explain(**case)
    title = "HTTP request" if told.protocol == "tcp" else "question"
    journey = next(journey for journey in told.journeys if journey.title == title)
    sent, got = journey.hops[0].frame, journey.hops[-1].frame
    payload = b"GET / HTTP/1.1" if told.protocol == "tcp" else b"who are you?"
    assert payload in sent.data
    assert got.data.endswith(sent.data[sent.data.index(payload) :])


def test_the_connection_is_told_from_its_first_packet_to_its_last() -> None:
    told = explain("nat")
    assert [(each.title, each.entry and each.entry.state) for each in told.journeys] == [
        ("SYN", "SYN_RECV"),
        ("SYN ACK", "SYN_RECV"),
        ("ACK", "ESTABLISHED"),
        ("HTTP request", "ESTABLISHED"),
        ("HTTP reply", "ESTABLISHED"),
        ("FIN from the client", "CLOSE_WAIT"),
        ("FIN from the real server", "TIME_WAIT"),
        ("last ACK", "TIME_WAIT"),
    ]


def test_dr_and_tun_see_one_side_and_go_by_that() -> None:
    states = [
        [each.entry and each.entry.state for each in explain(mode).journeys]
        for mode in ("dr", "tun")
    ]
    expected = ["SYN_RECV", "SYN_RECV", *["ESTABLISHED"] * 3, "FIN_WAIT", "FIN_WAIT", "FIN_WAIT"]
    assert states == [expected, expected]


def test_replies_of_dr_and_tun_never_come_by_the_director() -> None:
    for mode, expected in (("nat", True), ("dr", False), ("tun", False), ("fullnat", True)):
        replies = [each for each in explain(mode).journeys if each.direction == "reply"]
        seen = {hop.host == "director" for each in replies for hop in each.hops}
        assert (True in seen) is expected, mode


def test_fullnat_tells_the_client_with_its_first_ack_and_never_to_itself() -> None:
    told = explain("fullnat", client="198.51.100.7:1234")
    assert value(last(told, "ACK"), "TCP", "option TOA") == "198.51.100.7:1234"
    syn = last(told, "SYN").frame.get("TCP")
    assert syn
    assert syn.get("option TOA") is None


def test_proxy_v2_goes_ahead_in_a_packet_of_its_own() -> None:
    told = explain("fullnat", client_address="proxy-v2")
    ahead = [each for each in told.journeys if each.title.startswith("the client's address")]
    assert [layer.name for layer in ahead[0].hops[-1].frame.layers][-1] == "PROXY v2"


def test_the_scheduler_picks_the_least_number_of_its_candidates() -> None:
    told = explain("nat", scheduler="sed", weights=[1, 5, 2], earlier=4)
    assert told.choice
    numbered = [each for each in told.choice.candidates if each.number is not None]
    least = min(numbered, key=lambda each: each.number or 0)
    assert [each.picked for each in told.choice.candidates].count(True) == 1
    assert least.picked
    assert sum(each.active for each in told.choice.candidates) == 4
    assert told.plan
    assert least.server.endswith(str(told.plan.request[0]).rpartition(" ")[2])


@pytest.mark.parametrize("ipv6", [False, True])
def test_without_a_usable_server_the_client_is_told(*, ipv6: bool) -> None:
    told = explain("nat", weights=[0, 0], ipv6=ipv6)
    assert told.plan is None
    syn, error = told.journeys
    assert syn.hops[-1].host == "director"
    assert syn.outcome == (
        "The director drops it: no real server is usable (no_server); its sender is told by ICMP."
    )
    assert told.choice
    assert [each.text for each in told.choice.candidates] == ["weight 0", "weight 0"]
    assert [hop.host for hop in error.hops] == ["director", "client"]
    frame = Ether(error.hops[0].frame.data)
    port_unreachable = (frame[ICMPv6DestUnreach] if ipv6 else frame[ICMP]).code
    assert port_unreachable == (4 if ipv6 else 3)
    assert checksum_faults(error.hops[0].frame) == []
    assert error.hops[0].frame.data.endswith(syn.hops[0].frame.data[14:])  # quoted as it came


def test_an_explanation_is_the_same_every_time() -> None:
    assert explain("fullnat") == explain("fullnat")


def test_of_servers_that_share_an_address_the_one_picked_gets_the_frame() -> None:
    told = explain(servers=["10.0.0.11:81", "10.0.0.11:82"], weights=[1, 0])
    assert told.owners[told.hosts[-1].interfaces[0][2]] == "server1"
