"""Packets before and after, from packets.toml: scapy wrote both sides."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from forwarders.plan import SetDestination, SetSource
from lvsd.explain.dissect import dissect_packet
from lvsd.explain.output.lines import lines
from lvsd.packet.address import pack, parse_endpoint
from lvsd.packet.icmp import embedded, rewrite_error
from lvsd.packet.rewrite import compile_steps
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from forwarders.plan import Step
    from lvsd.packet.view import Endpoint

CASES: Final = tomllib.loads((Path(__file__).parent / "packets.toml").read_text())["case"]
PLAIN: Final = [case for case in CASES if "source" in case or "destination" in case]
ERRORS: Final = [case for case in CASES if case not in PLAIN]


def described(case: dict[str, Any]) -> str:
    return str(case["description"])


@pytest.mark.parametrize("case", PLAIN, ids=described)
def test_a_packet_is_rewritten_byte_for_byte(case: dict[str, Any]) -> None:
    packet = loaded(case)
    old_source, new_source = pair(case, "source")
    old_destination, new_destination = pair(case, "destination")
    steps: list[Step] = [
        *([SetSource(*new_source)] if new_source else []),
        *([SetDestination(*new_destination)] if new_destination else []),
    ]
    rewrite = compile_steps(
        steps,
        packet.protocol,
        source=old_source,
        destination=old_destination,
        decrement_ttl=case.get("decrement_ttl", False),
    )
    assert rewrite(packet) == bytes.fromhex(case["after"])


@pytest.mark.parametrize("case", ERRORS, ids=described)
def test_an_icmp_error_is_rewritten_byte_for_byte_outside_and_inside(case: dict[str, Any]) -> None:
    packet = loaded(case)
    inner = Packet()
    assert embedded(packet, inner) is None
    ends: dict[str, Any] = {}
    for end in case.keys() & {"outer_source", "outer_destination"}:
        ends[end] = pack(case[end])
    for end in case.keys() & {"inner_source", "inner_destination"}:
        ends[end] = parse_endpoint(case[end])
    assert rewrite_error(packet, inner, **ends) == bytes.fromhex(case["after"])


@pytest.mark.parametrize("case", CASES, ids=described)
def test_the_new_packet_is_shown_with_right_checksums(case: dict[str, Any]) -> None:
    assert list(lines(dissect_packet(bytes.fromhex(case["after"])))) == case["shows"]


def loaded(case: dict[str, Any]) -> Packet:
    packet = Packet()
    assert packet.load(bytes.fromhex(case["before"])) is None
    return packet


def pair(case: dict[str, Any], end: str) -> tuple[Endpoint | None, Endpoint | None]:
    if end not in case:
        return None, None
    old, new = case[end]
    return parse_endpoint(old), parse_endpoint(new)
