"""What changed between two hops, and who is to blame."""

from __future__ import annotations

from forwarders.plan import Plan, SetDestination
from lvsd.explain import Change, dissect, explain
from lvsd.explain.changes import changes
from lvsd.packet.address import pack

PLAN = Plan((SetDestination(pack("10.0.0.13"), 8080),), None)
ETHERNET_BYTES, DSFIELD, TTL = 14, 15, 22


def syn() -> bytes:
    return explain("nat").journeys[0].hops[0].frame.data


def changed(at: int, value: int, host: str = "director") -> list[Change]:
    data = bytearray(syn())
    data[at] = value
    return list(changes(dissect(syn()), dissect(bytes(data)), host, PLAN, "request"))


def test_what_no_step_says_is_owned_up_to() -> None:
    (change,) = changed(DSFIELD, 0x20)
    assert (change.layer, change.field, change.cause.kind) == ("IPv4", "DSCP", "unknown")


def test_a_router_may_take_from_the_ttl_and_nothing_more() -> None:
    (change,) = changed(TTL, 63, host="router")
    assert (change.before, change.after, change.cause.kind) == ("64", "63", "forwarding")
    (change,) = changed(ETHERNET_BYTES + 19, 99, host="router")
    assert (change.field, change.cause.kind) == ("destination", "unknown")


def test_the_same_packet_has_no_changes() -> None:
    assert changes(dissect(syn()), dissect(syn()), "director", PLAN, "request") == ()


def test_a_tunnels_header_is_new_and_the_packet_inside_is_the_one_that_was_there() -> None:
    for tunnel, between in (("ipip", []), ("gue", ["UDP", "GUE"]), ("gre", ["GRE"])):
        journey = explain("tun", tunnel=tunnel).journeys[0]
        hop = next(hop for hop in journey.hops if (hop.host, hop.title) == ("director", "sends"))
        new = dict.fromkeys(change.layer for change in hop.changes if change.before is None)
        assert list(new) == ["IPv4", *between]
        within = {change.field for change in hop.changes if change.layer == "inner IPv4"}
        assert within == {"TTL", "header checksum"}
        *_, taken = journey.hops
        assert {change.layer for change in taken.changes} == {"IPv4", *between}
        assert {change.cause.kind for change in taken.changes} == {"host"}
