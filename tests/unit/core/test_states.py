"""The state tables against the rules that they come from, said here as sentences.

The rules are those of docs and kernel (ip_vs_proto_tcp.c, ip_vs_proto_sctp.c), written a second
time and in another form: an event, then which states go where. What is not named stays.
"""

from __future__ import annotations

from typing import TypeAlias

import pytest

from lvsd.core import states
from lvsd.core.states import Direction

Rules: TypeAlias = dict[str, dict[str, str]]
"""Per event: the states it moves, and where to. ``*`` stands for all states not named."""

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

TCP_RULES: dict[Direction, Rules] = {
    Direction.REQUEST: {
        "SYN": {"ESTABLISHED": "ESTABLISHED", "SYN_SENT": "ESTABLISHED", "*": "SYN_RECV"},
        "FIN": {
            "NONE": "CLOSE",
            "ESTABLISHED": "CLOSE_WAIT",
            "SYN_RECV": "TIME_WAIT",
            "FIN_WAIT": "TIME_WAIT",
            "TIME_WAIT": "TIME_WAIT",
            "SYNACK": "TIME_WAIT",
        },
        "ACK": {
            "NONE": "ESTABLISHED",
            "ESTABLISHED": "ESTABLISHED",
            "SYN_RECV": "ESTABLISHED",
            "SYNACK": "ESTABLISHED",
            "LAST_ACK": "CLOSE",
        },
        "RST": {
            "SYN_RECV": "SYN_RECV",
            "SYNACK": "SYN_RECV",
            "LAST_ACK": "LAST_ACK",
            "LISTEN": "LISTEN",
            "*": "CLOSE",
        },
    },
    Direction.REPLY: {
        "SYN": {
            "ESTABLISHED": "ESTABLISHED",
            "LISTEN": "LISTEN",
            "SYN_RECV": "SYN_RECV",
            "SYNACK": "SYN_RECV",
            "*": "SYN_SENT",
        },
        "FIN": {
            "NONE": "TIME_WAIT",
            "SYN_RECV": "TIME_WAIT",
            "CLOSE_WAIT": "TIME_WAIT",
            "SYNACK": "TIME_WAIT",
            "ESTABLISHED": "FIN_WAIT",
        },
        "ACK": {
            "NONE": "ESTABLISHED",
            "ESTABLISHED": "ESTABLISHED",
            "SYN_RECV": "ESTABLISHED",
            "LISTEN": "ESTABLISHED",
            "SYNACK": "ESTABLISHED",
        },
        "RST": {"SYN_SENT": "SYN_SENT", "TIME_WAIT": "TIME_WAIT", "*": "CLOSE"},
    },
}
_REQUEST = TCP_RULES[Direction.REQUEST]
TCP_RULES[Direction.REQUEST_ONLY] = _REQUEST | {
    "FIN": _REQUEST["FIN"] | {"ESTABLISHED": "FIN_WAIT", "FIN_WAIT": "FIN_WAIT"},
    "RST": _REQUEST["RST"] | {"SYNACK": "CLOSE"},
}

UNTIL_ESTABLISHED = (
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
)
BEFORE_COOKIE = UNTIL_ESTABLISHED[:6]


def _all(names: tuple[str, ...], to: str) -> dict[str, str]:
    return dict.fromkeys(names, to)


SCTP_RULES: dict[Direction, Rules] = {
    Direction.REQUEST: {
        "DATA": {"NONE": "ESTABLISHED"},
        "INIT": {"NONE": "INIT1"} | _all(("INIT1", "INIT", "REJECTED", "CLOSED"), "INIT"),
        "INIT_ACK": _all(("NONE", "INIT1", "INIT"), "C-WAIT") | {"C-WAIT": "COOKIE"},
        "COOKIE_ECHO": _all(("NONE", "C-SENT", "C-REPLIED"), "C-REPLIED") | {"INIT1": "INIT"},
        "COOKIE_ACK": _all(("NONE", "C-ECHOED", "ESTABLISHED"), "ESTABLISHED"),
        "SHUTDOWN": _all(("NONE", "ESTABLISHED"), "S-RECEIVED"),
        "SHUTDOWN_ACK": _all(("NONE", "S-SENT", "S-ACK-SENT"), "CLOSED") | {"INIT1": "INIT"},
        "SHUTDOWN_COMPLETE": _all(("NONE", "INIT1", "INIT", "S-ACK-SENT"), "CLOSED"),
        "ERROR": _all(("NONE", "C-ECHOED"), "CLOSED"),
        "ABORT": {"C-WAIT": "REJECTED", "*": "CLOSED"},
    },
    Direction.REPLY: {
        "DATA": {"NONE": "ESTABLISHED"},
        "INIT": {"ESTABLISHED": "ESTABLISHED", "*": "C-WAIT"},
        "INIT_ACK": _all(("NONE", "INIT1", "INIT", "C-SENT"), "C-SENT"),
        "COOKIE_ECHO": _all(UNTIL_ESTABLISHED, "C-ECHOED"),
        "COOKIE_ACK": _all(UNTIL_ESTABLISHED, "ESTABLISHED"),
        "SHUTDOWN": _all((*UNTIL_ESTABLISHED, "ESTABLISHED"), "S-SENT"),
        "SHUTDOWN_ACK": _all(
            (*UNTIL_ESTABLISHED[:5], "S-SENT", "S-RECEIVED", "S-ACK-SENT"), "S-ACK-SENT"
        ),
        "SHUTDOWN_COMPLETE": {"NONE": "CLOSED"},
        "ERROR": _all(UNTIL_ESTABLISHED[:5], "CLOSED"),
        "ABORT": {"INIT1": "REJECTED", "*": "CLOSED"},
    },
    Direction.REQUEST_ONLY: {
        "DATA": _all(("NONE", "C-WAIT"), "ESTABLISHED"),
        "INIT": {"NONE": "INIT1"} | _all((*BEFORE_COOKIE[1:], "REJECTED", "CLOSED"), "INIT"),
        "INIT_ACK": _all(BEFORE_COOKIE, "C-ECHOED"),
        "COOKIE_ECHO": _all(BEFORE_COOKIE, "ESTABLISHED"),
        "COOKIE_ACK": _all(("NONE", "C-SENT", "C-REPLIED", "COOKIE", "C-ECHOED"), "ESTABLISHED"),
        "SHUTDOWN": _all(("NONE", "ESTABLISHED"), "S-RECEIVED"),
        "SHUTDOWN_ACK": _all(("NONE", "ESTABLISHED", "S-SENT", "S-ACK-SENT"), "CLOSED")
        | {"INIT1": "INIT"},
        "SHUTDOWN_COMPLETE": _all((*UNTIL_ESTABLISHED[:5], "S-RECEIVED", "S-ACK-SENT"), "CLOSED"),
        "ERROR": {"NONE": "CLOSED"},
        "ABORT": {"C-WAIT": "REJECTED", "*": "CLOSED"},
    },
}
CHUNK_NAMES = {
    1: "INIT",
    2: "INIT_ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN_ACK",
    9: "ERROR",
    10: "COOKIE_ECHO",
    11: "COOKIE_ACK",
    14: "SHUTDOWN_COMPLETE",
}


def by_rule(rules: Rules, event: str, state: str) -> str:
    moved = rules[event]
    return moved.get(state, moved.get("*", state))


def tcp_event(flags: int) -> str | None:
    for bit, name in ((RST, "RST"), (SYN, "SYN"), (FIN, "FIN"), (ACK, "ACK")):
        if flags & bit:
            return name
    return None


def _row(protocol: states.Protocol, direction: Direction, event: int) -> dict[str, str]:
    table = protocol.next[direction]
    return {
        name: protocol.states[table[event << 4 | state]]
        for state, name in enumerate(protocol.states)
    }


@pytest.mark.parametrize("direction", Direction)
def test_every_tcp_flag_byte_moves_every_state_as_the_rules_say(direction: Direction) -> None:
    tcp = states.tcp()
    expected = {}
    for flags in range(256):
        event = tcp_event(flags)
        expected[flags] = {
            name: by_rule(TCP_RULES[direction], event, name) if event else "CLOSE"
            for name in tcp.states
        }
    assert {flags: _row(tcp, direction, flags) for flags in range(256)} == expected


@pytest.mark.parametrize("direction", Direction)
def test_every_sctp_chunk_moves_every_state_as_the_rules_say(direction: Direction) -> None:
    sctp = states.sctp()
    expected = {}
    for chunk in range(256):
        event = CHUNK_NAMES.get(chunk, "DATA")
        expected[chunk] = {
            name: by_rule(SCTP_RULES[direction], event, name) for name in sctp.states
        }
    assert {chunk: _row(sctp, direction, chunk) for chunk in range(256)} == expected


@pytest.mark.parametrize("direction", Direction)
def test_udp_has_one_state_as_people_see_it(direction: Direction) -> None:
    udp = states.udp()
    assert set(udp.states) == {"UDP"}
    used = range(len(udp.states))
    assert {udp.next[direction][event << 4 | state] for event in range(256) for state in used} <= {
        *used
    }


def test_udp_is_opening_until_a_second_packet_of_either_side() -> None:
    udp = states.udp()
    requests, replies, requests_only = udp.next
    for sent in (requests, requests_only):
        assert {sent[event << 4 | states.UDP_NEW] for event in range(256)} == {
            states.UDP_ONE_PACKET
        }
        assert {sent[event << 4 | states.UDP_ONE_PACKET] for event in range(256)} == {
            states.UDP_SEEN
        }
    assert {replies[event << 4 | states.UDP_ONE_PACKET] for event in range(256)} == {
        states.UDP_SEEN
    }
    assert [bool(udp.opening[state]) for state in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("protocol", "opening"),
    [
        (states.tcp(), {"NONE", "SYN_SENT", "SYN_RECV", "SYNACK"}),
        (
            states.sctp(),
            {"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED"},
        ),
    ],
    ids=["TCP", "SCTP"],
)
def test_the_states_of_a_connection_that_is_still_opening(
    protocol: states.Protocol, opening: set[str]
) -> None:
    named = enumerate(protocol.states)
    assert {name for state, name in named if protocol.opening[state]} == opening


def test_tcp_timeouts_are_those_of_ipvs() -> None:
    tcp = states.tcp()
    assert dict(zip(tcp.states, tcp.timeouts, strict=True)) == {
        "NONE": 2,
        "ESTABLISHED": 900,
        "SYN_SENT": 120,
        "SYN_RECV": 60,
        "FIN_WAIT": 120,
        "TIME_WAIT": 120,
        "CLOSE": 10,
        "CLOSE_WAIT": 60,
        "LAST_ACK": 30,
        "LISTEN": 120,
        "SYNACK": 120,
    }


def test_sctp_timeouts_are_those_of_ipvs() -> None:
    sctp = states.sctp()
    short = {"NONE": 2, "INIT1": 4, "REJECTED": 4, "ESTABLISHED": 900}
    assert dict(zip(sctp.states, sctp.timeouts, strict=True)) == {
        name: short.get(name, 61) for name in sctp.states
    }


def test_udp_waits_five_minutes() -> None:
    assert set(states.udp().timeouts) == {300}


@pytest.mark.parametrize(
    ("protocol", "active"),
    [
        (states.tcp(), {"ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK"}),
        (states.udp(), set()),
        (states.sctp(), {"ESTABLISHED"}),
    ],
    ids=lambda value: value.name if isinstance(value, states.Protocol) else "",
)
def test_the_states_that_count_as_active(protocol: states.Protocol, active: set[str]) -> None:
    assert {name for state, name in enumerate(protocol.states) if protocol.active[state]} == active


def test_two_directors_do_not_share_their_timeouts() -> None:
    one, other = states.tcp(), states.tcp()
    one.timeouts[states.TCP_ESTABLISHED] = 1.0
    assert other.timeouts[states.TCP_ESTABLISHED] == 900
