"""Snapshots to begin with: a director with one good server of each mode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.snapshot import (
    Answer,
    Answers,
    Ask,
    Counts,
    Daemon,
    Echo,
    Handshake,
    Machine,
    Server,
    Service,
    Snapshot,
)
from lvsd.net.ways import Way
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.doctor.finding import Check

DIRECTOR, LOCAL, ROUTER = pack("10.0.0.1"), pack("10.0.0.2"), pack("10.0.0.254")
VIP = pack("192.0.2.10")
NAT, DR, TUN, FULLNAT = (pack(f"10.{number}.0.11") for number in range(4))
MODES = {NAT: "nat", DR: "dr", TUN: "tun", FULLNAT: "fullnat"}
MAC, SERVER_MAC = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x11"
FITTING = 1440
"""The MSS that fits into an IPIP tunnel over Ethernet."""
BEHIND = {TUN, FULLNAT}
"""Servers that are reached by the router."""


def way(address: bytes, mtu: int = 1500) -> Way:
    """Return the way to one of the servers."""
    return Way(2, "back", ROUTER if address in BEHIND else None, True, MAC, mtu)


def service(address: bytes, counts: Counts | None = None) -> Service:
    """Return a service with one real server."""
    mode = MODES[address]
    locals_ = (LOCAL,) if mode == "fullnat" else ()
    server = Server(address, 80, mode, counts=counts)
    return Service(mode, "tcp", VIP, 80, 4, (server,), locals_, (1025, 65535))


MACHINE = Machine(
    addresses={DIRECTOR: frozenset({"back"}), LOCAL: frozenset({"back"})},
    macs={"back": MAC, "front": MAC[:5] + b"\x02"},
    ways={address: way(address) for address in MODES},
    sources=dict.fromkeys(MODES, DIRECTOR),
    forwarding={4: True, 6: True},
    rp_filter={"back": 0, "front": 0, "lo": 0},
)


def snapshot(*services: Service) -> Snapshot:
    """Return a snapshot in which everybody answers as they should."""
    machine = MACHINE
    first = Snapshot(services or tuple(map(service, MODES)), Daemon(), machine)
    outside = set(questions.OUTSIDE.values())
    echoes = {
        echo: Answer("back", SERVER_MAC)
        for echo in questions.echoes(first)
        if echo.source not in outside or echo.destination == NAT
    }
    macs = {ask: frozenset({SERVER_MAC}) for ask in questions.next_hops(first)}
    handshakes = {asked: Handshake(accepted=True, mss=FITTING) for asked in questions.syns(first)}
    return replace(first, answers=Answers(macs, echoes, handshakes))


def without(good: Snapshot, *, echoes: Iterable[Echo] = (), asks: Iterable[Ask] = ()) -> Snapshot:
    """Return a snapshot in which these were not answered."""
    gone_echoes, gone_asks = set(echoes), set(asks)
    answers = Answers(
        {ask: macs for ask, macs in good.answers.macs.items() if ask not in gone_asks},
        {echo: each for echo, each in good.answers.echoes.items() if echo not in gone_echoes},
        good.answers.handshakes,
    )
    return replace(good, answers=answers)


def answering(given: Snapshot, echo: Echo | None, answer: Answer) -> Snapshot:
    """Return a snapshot in which one more echo was answered."""
    assert echo is not None
    echoes = {**given.answers.echoes, echo: answer}
    return replace(given, answers=replace(given.answers, echoes=echoes))


def plain(address: bytes) -> Echo:
    """Return the echo to a server from the director's own address."""
    return Echo(DIRECTOR, address)


def said(check: Check, given: Snapshot) -> list[tuple[str, str]]:
    """Return (level, text) of what a check finds."""
    return [(finding.level.name.lower(), finding.what) for finding in check.look(given)]
