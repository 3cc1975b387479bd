"""What FULLNAT changes besides the ends of packets: numbers, options, the client's address."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.netns.modes.hops import packed, proxy_v2
from tests.netns.modes.hops_table import ACK, DATA, EARLY, FIN, HANDSHAKE, LATER, SYN, moved

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netns.modes.hops_table import Changes, Talk

TOA_KIND, UOA_KIND = 254, 31


def told(talk: Talk) -> dict[str, Changes]:
    """Return what FULLNAT changes in requests besides their ends, by kind."""
    how = talk.case.kind
    if talk.protocol == "udp":
        if how == "proxy-v2":
            header = proxy_v2("udp", talk.client, talk.virtual)
            ahead: Changes = {"payload": lambda payload: header + payload}
            return {EARLY: ahead, LATER: ahead}
        if how == "toa" and talk.family == "v4":
            return {EARLY: {"ip_options": bytes((UOA_KIND, 8)) + _address(talk.client)}}
        return {}
    numbered: Changes = {"seq": moved(talk.shift)}
    by_kind = dict.fromkeys((SYN, HANDSHAKE, DATA, FIN, ACK), numbered)
    by_kind[SYN] = numbered | {"options": _without_timestamp}
    if how == "toa":
        toa = TOA_KIND, _address(talk.client)
        for each in (HANDSHAKE, DATA):
            by_kind[each] = numbered | {"options": lambda options: [toa, *options]}
    if how == "proxy-v2":
        header = proxy_v2("tcp", talk.client, talk.virtual)
        behind: Changes = {"seq": moved(talk.shift + len(header))}
        by_kind |= dict.fromkeys((DATA, FIN, ACK), behind)
        by_kind[HANDSHAKE] = numbered | {"flags": "PA", "payload": header}
    return by_kind


def heard(talk: Talk) -> dict[str, Changes]:
    """Return what FULLNAT changes in replies besides their ends, by kind."""
    if talk.protocol == "udp":
        return {}
    how = talk.case.kind
    header = len(proxy_v2("tcp", talk.client, talk.virtual)) if how == "proxy-v2" else 0
    option = 4 + len(packed(talk.client[0])) if how == "toa" else 0
    later: Changes = {"ack": moved(-talk.shift - header)}
    by_kind = dict.fromkeys((HANDSHAKE, DATA, FIN, ACK), later)
    by_kind[SYN] = {"ack": moved(-talk.shift), "options": _with_mss_less(option)}
    return by_kind


def _address(end: tuple[str, int]) -> bytes:
    """Return an end as TOA and UOA have it: port, address."""
    return struct.pack("!H", end[1]) + packed(end[0])


def _without_timestamp(options: list[Any]) -> list[Any]:
    """Return TCP options with NOPs where the timestamp was, 10 bytes."""
    assert any(name == "Timestamp" for name, _ in options)
    return [
        each
        for option in options
        for each in ([("NOP", None)] * 10 if option[0] == "Timestamp" else [option])
    ]


def _with_mss_less(number: int) -> Callable[[list[Any]], list[Any]]:
    def lowered(options: list[Any]) -> list[Any]:
        assert any(name == "MSS" for name, _ in options)
        return [(name, value - number if name == "MSS" else value) for name, value in options]

    return lowered
