"""The script that nft is fed: the elements of sets, and their changes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.io.ruleset import REASSEMBLY, SET_TYPES, Diverted, draft, keys
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = {
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "inet_proto": 1,
    "inet_service": 2,
    "icmp_type": 1,
    "icmpv6_type": 1,
    "mark": 4,
}
"""Bytes of a field by its type."""

VIP4, VIP6, RIP4 = pack("192.0.2.10"), pack("2001:db8::10"), pack("10.0.0.11")
LIP4, LIP6 = pack("10.0.0.1"), pack("2001:db8:2::1")
TCP, UDP = 6, 17


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(Diverted(), Diverted(), "", id="nothing"),
        pytest.param(
            Diverted(),
            Diverted(frozenset({(VIP4, TCP, 80)})),
            "add element inet lvsd services4 { 192.0.2.10 . 6 . 80 }\n"
            "add element inet lvsd vips4 { 192.0.2.10 }\n",
            id="a service comes",
        ),
        pytest.param(
            Diverted(frozenset({(VIP6, UDP, 53)})),
            Diverted(frozenset({(VIP6, UDP, 0)})),
            "delete element inet lvsd services6 { 2001:db8::10 . 17 . 53 }\n"
            "add element inet lvsd any_port6 { 2001:db8::10 . 17 }\n",
            id="a service takes any port",
        ),
        pytest.param(
            Diverted(frozenset({(VIP4, TCP, 80), (VIP4, TCP, 443)})),
            Diverted(frozenset({(VIP4, TCP, 443)})),
            "delete element inet lvsd services4 { 192.0.2.10 . 6 . 80 }\n",
            id="one of two services of an address goes",
        ),
        pytest.param(
            Diverted(),
            Diverted(servers=frozenset({(RIP4, TCP, 8080), (RIP4, UDP, 0)})),
            "add element inet lvsd servers4 { 10.0.0.11 . 6 . 8080 }\n"
            "add element inet lvsd any_port_servers4 { 10.0.0.11 . 17 }\n"
            "add element inet lvsd forwarded_errors4 { 11, 3, 4 }\n",
            id="with servers forwarded ICMP errors are looked at",
        ),
        pytest.param(
            Diverted(marks=frozenset({7})),
            Diverted(),
            "delete element inet lvsd marks { 7 }\n"
            "delete element inet lvsd errors4 { 11, 3, 4 }\n"
            "delete element inet lvsd errors6 { 1, 2, 3, 4 }\n",
            id="the last mark goes",
        ),
        pytest.param(
            Diverted(),
            Diverted(
                fullnat_servers=frozenset({(RIP4, TCP, 8080), (RIP4, UDP, 0)}),
                local_addresses=frozenset({LIP4, LIP6}),
            ),
            "add element inet lvsd fullnat_servers4 { 10.0.0.11 . 6 . 8080 }\n"
            "add element inet lvsd any_port_fullnat_servers4 { 10.0.0.11 . 17 }\n"
            "add element inet lvsd lips4 { 10.0.0.1 }\n"
            "add element inet lvsd lips6 { 2001:db8:2::1 }\n"
            "add element inet lvsd ends4 { 10.0.0.1 }\n"
            "add element inet lvsd ends6 { 2001:db8:2::1 }\n",
            id="FULLNAT has nothing in hook forward, errors neither",
        ),
        pytest.param(
            Diverted(tunnel_ends=frozenset({LIP4})),
            Diverted(local_addresses=frozenset({LIP4})),
            "add element inet lvsd lips4 { 10.0.0.1 }\n",
            id="an address stays an end while anything begins there",
        ),
        pytest.param(
            Diverted(),
            Diverted(own_servers=frozenset({(LIP4, TCP, 80), (LIP4, UDP, 0)})),
            "add element inet lvsd own_servers4 { 10.0.0.1 . 6 . 80 }\n"
            "add element inet lvsd any_port_own_servers4 { 10.0.0.1 . 17 }\n"
            "add element inet lvsd own_rips4 { 10.0.0.1 }\n",
            id="a real server on the director",
        ),
        pytest.param(
            Diverted(),
            Diverted(ipsec=frozenset({VIP6}), ipsec_servers=frozenset({RIP4})),
            "add element inet lvsd any_port6 { 2001:db8::10 . 50, 2001:db8::10 . 51 }\n"
            "add element inet lvsd vips6 { 2001:db8::10 }\n"
            "add element inet lvsd any_port_servers4 { 10.0.0.11 . 50, 10.0.0.11 . 51 }\n"
            "add element inet lvsd forwarded_errors4 { 11, 3, 4 }\n",
            id="AH and ESP are protocols of any port",
        ),
        pytest.param(
            Diverted(not_forwarded=frozenset({VIP4})),
            Diverted(not_forwarded=frozenset({VIP6})),
            "delete element inet lvsd not_forwarded4 { 192.0.2.10 }\n"
            "add element inet lvsd not_forwarded6 { 2001:db8::10 }\n",
            id="nothing is forwarded to a VIP",
        ),
    ],
)
def test_changes_name_just_what_differs(old: Diverted, new: Diverted, expected: str) -> None:
    assert changes(old, new) == expected


@pytest.mark.parametrize("reassembly", REASSEMBLY)
@pytest.mark.parametrize("guarded", [True, False])
def test_every_set_is_in_the_draft_and_every_set_of_the_rules_is_one(
    reassembly: str, *, guarded: bool
) -> None:
    script = draft(reassembly, guarded=guarded)
    assert set(re.findall(r"^set (\w+) ", script, re.MULTILINE)) == SET_TYPES.keys()
    assert set(re.findall(r"@(\w+)", script)) <= SET_TYPES.keys()


def changes(old: Diverted, new: Diverted) -> str:
    """Return what differs between the elements, as commands of nft."""
    before, after = keys(old), keys(new)
    none: frozenset[bytes] = frozenset()
    steps = [("delete", each, before.get(each, none), after.get(each, none)) for each in SET_TYPES]
    steps += [("add", each, after.get(each, none), before.get(each, none)) for each in SET_TYPES]
    return "".join(
        f"{verb} element inet lvsd {name} {{ {', '.join(listed)} }}\n"
        for verb, name, some, rest in steps
        if (listed := sorted(map(shown(name), some - rest)))
    )


def shown(name: str) -> Callable[[bytes], str]:
    """Return what writes a key of a set as nft does."""
    kinds = SET_TYPES[name].split(" . ")

    def show(key: bytes) -> str:
        fields, offset = [], 0
        for kind in kinds:
            length = LENGTHS[kind]
            field = key[offset : offset + length]
            order = sys.byteorder if kind == "mark" else "big"
            is_address = kind.endswith("_addr")
            fields.append(text(field) if is_address else str(int.from_bytes(field, order)))
            offset += length + 3 & ~3
        assert len(key) == (offset if len(kinds) > 1 else LENGTHS[kinds[0]])
        return " . ".join(fields)

    return show
