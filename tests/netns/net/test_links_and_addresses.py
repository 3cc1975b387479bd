"""The kernel's links and addresses: read, made, changed, removed."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.errors import KernelError
from lvsd.net import addresses, links, neighbours, routes, rules
from lvsd.net.addresses import Address
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from tests.netns.net.conftest import Pair


def test_links_are_as_iproute2_shows_them(pair: Pair) -> None:
    shown = json.loads(pair.ip("-details -json link"))
    assert [
        (each.index, each.name, each.kind, each.mtu, each.mac.hex(":"), each.is_up)
        for each in links.every(pair.kernel)
    ] == [
        (
            each["ifindex"],
            each["ifname"],
            each.get("linkinfo", {}).get("info_kind", ""),
            each["mtu"],
            each["address"],
            "UP" in each["flags"],
        )
        for each in shown
    ]


def test_addresses_are_as_iproute2_shows_them(pair: Pair) -> None:
    pair.ip("address add 192.0.2.1 peer 192.0.2.2 dev eth0")
    pair.ip("address add 10.0.0.9/24 dev eth0")
    pair.ip("address add 2001:db8::9/64 dev eth0 nodad preferred_lft 0")
    found = addresses.every(pair.kernel)
    shown = [
        (link["ifindex"], each["local"])
        for link in json.loads(pair.ip("-json address"))
        for each in link["addr_info"]
    ]
    assert sorted((each.interface, text(each.address)) for each in found) == sorted(shown)
    by_address = {text(each.address): each for each in found}
    assert by_address["10.0.0.9"].is_secondary
    assert by_address["2001:db8::9"].is_deprecated
    assert not by_address["10.0.0.1"].is_secondary


@pytest.mark.parametrize("address", ["198.51.100.10", "2001:db8:51::10"])
def test_an_address_comes_alone_in_its_network_and_goes(pair: Pair, address: str) -> None:
    lo, packed = pair.index("lo"), pack(address)
    pair.kernel.do(addresses.adding(lo, packed, scope=addresses.HOST))
    [found] = [each for each in addresses.every(pair.kernel) if each.address == packed]
    scope = addresses.HOST if len(packed) == 4 else addresses.GLOBAL  # IPv6 goes by the address
    assert found == Address(lo, packed, 8 * len(packed), scope, found.flags)
    assert not found.is_tentative
    pair.kernel.do(addresses.deleting(lo, packed))
    assert [each for each in addresses.every(pair.kernel) if each.address == packed] == []


def test_what_is_refused_says_what_it_was_and_the_rest_is_done(pair: Pair) -> None:
    eth0 = pair.index("eth0")
    with pytest.raises(KernelError, match=r"add 10\.0\.0\.1 to interface") as caught:
        pair.kernel.do(
            addresses.adding(eth0, pack("10.0.0.7"), 24),
            addresses.adding(eth0, pack("10.0.0.1"), 24),
            addresses.adding(eth0, pack("10.0.0.8"), 24),
        )
    assert caught.value.errno == errno.EEXIST
    there = {text(each.address) for each in addresses.every(pair.kernel)}
    assert {"10.0.0.7", "10.0.0.8"} <= there


def test_of_many_requests_each_has_its_own_refusal(pair: Pair) -> None:
    eth0 = pair.index("eth0")
    there, nowhere = pack("10.0.0.1"), 9999
    found = pair.kernel.attempt(
        [
            addresses.adding(eth0, there, 24),
            *(addresses.adding(eth0, bytes((10, 2, 0, number))) for number in range(1, 255)),
            addresses.adding(nowhere, there),
            *(addresses.adding(eth0, bytes((10, 3, 0, number))) for number in range(1, 255)),
            addresses.deleting(eth0, pack("10.4.0.1")),
        ]
    )
    assert {number: each.errno for number, each in enumerate(found) if each} == {
        0: errno.EEXIST,
        255: errno.ENODEV,
        510: errno.EADDRNOTAVAIL,
    }


def test_a_thousand_requests_are_more_than_one_datagram(pair: Pair) -> None:
    lo = pair.index("lo")
    wanted = [bytes((10, 1, number >> 8, number & 255)) for number in range(1000)]
    pair.kernel.do(*(addresses.adding(lo, each) for each in wanted))
    assert set(wanted) <= {each.address for each in addresses.every(pair.kernel)}
    refused = [addresses.adding(lo, each) for each in wanted]
    with pytest.raises(KernelError, match=r"add 10\.1\.0\.0 to"):
        pair.kernel.do(*refused)
    assert links.find(pair.kernel, "lo") is not None  # no answer was left over


def test_an_interface_that_is_not_there_is_none(pair: Pair) -> None:
    assert links.find(pair.kernel, "nonesuch") is None
    with pytest.raises(KernelError, match="no such interface"):
        links.counts(pair.kernel, "nonesuch")


def test_what_the_kernel_has_no_kind_of_is_refused_by_name(pair: Pair) -> None:
    with pytest.raises(KernelError, match="make the nonesuch interface x") as caught:
        pair.kernel.do(links.adding("x", "nonesuch"))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_interface_is_made_changed_and_removed(pair: Pair) -> None:
    pair.kernel.do(links.adding("br", "bridge"))
    index = pair.index("br")
    eth0 = pair.index("eth0")
    pair.kernel.do(links.changing(index, up=True, mtu=1300), links.changing(eth0, master=index))
    bridge, port = (links.find(pair.kernel, name) for name in ("br", "eth0"))
    assert bridge is not None
    assert port is not None
    assert (bridge.kind, bridge.mtu, bridge.is_up, port.master) == ("bridge", 1300, True, index)
    pair.kernel.do(links.deleting(index))
    assert links.find(pair.kernel, "br") is None


def test_packets_are_counted(pair: Pair) -> None:
    before = links.counts(pair.kernel, "lo")
    pair.ip("netns exec", pair.name, "ping -c1 -W5 127.0.0.1")
    after = links.counts(pair.kernel, "lo")
    assert before is not None
    assert after is not None
    assert after.received - before.received == after.sent - before.sent == 2


def test_neighbours_are_as_they_were_entered(pair: Pair) -> None:
    pair.ip("neighbour add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent")
    pair.ip("neighbour add 10.0.0.3 lladdr 02:00:00:00:00:03 dev eth0 nud stale")
    found = {
        text(each.address): (each.mac, each.is_fixed) for each in neighbours.every(pair.kernel)
    }
    assert found["10.0.0.2"] == (bytes.fromhex("020000000002"), True)
    assert found["10.0.0.3"] == (bytes.fromhex("020000000003"), False)


def test_routes_and_rules_are_as_they_were_entered(pair: Pair) -> None:
    eth0 = pair.index("eth0")
    gateway, source = pack("10.0.0.2"), pack("10.0.0.1")
    pair.kernel.do(routes.adding(bytes(4), 0, gateway=gateway, interface=eth0, source=source))
    pair.ip("route add unreachable 192.0.2.0/24 metric 7 table 99")
    pair.ip("rule add from 192.0.2.0/24 to 10.0.0.0/8 fwmark 5/7 iif lo priority 70 lookup 99")
    found = routes.every(pair.kernel)
    [default] = [each for each in found if each.family == 2 and not each.length]
    assert (default.hops, default.source) == ((routes.NextHop(eth0, gateway),), source)
    [other] = [each for each in found if each.table == 99]
    assert (other.kind, other.metric, other.hops) == (routes.UNREACHABLE, 7, ())
    [rule] = [each for each in rules.every(pair.kernel) if each.priority == 70]
    assert (rule.source, rule.destination) == ((pack("192.0.2.0"), 24), (pack("10.0.0.0"), 8))
    assert (rule.mark, rule.in_interface, rule.table) == ((5, 7), "lo", 99)


def test_a_list_that_changed_while_it_was_told_is_asked_for_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    marshal = pair.kernel._socket.marshal
    parse = marshal.parse_one_message
    marked: list[int] = []

    def interrupted(key: int, *rest: Any) -> Any:
        message = parse(key, *rest)
        if key == 3 and len(marked) < 2:  # NLMSG_DONE, which alone may be marked
            marked.append(key)
            message["header"]["flags"] |= 0x10
        return message

    monkeypatch.setattr(marshal, "parse_one_message", interrupted)
    assert [each.name for each in links.every(pair.kernel)] == ["lo", "eth0"]
    assert len(marked) == 2


def test_a_list_that_never_stands_still_is_an_error(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    marshal = pair.kernel._socket.marshal
    parse = marshal.parse_one_message

    def interrupted(*each: Any) -> Any:
        message = parse(*each)
        message["header"]["flags"] |= 0x10
        return message

    monkeypatch.setattr(marshal, "parse_one_message", interrupted)
    with pytest.raises(KernelError, match=r"list the interfaces: .* changes faster"):
        links.every(pair.kernel)
