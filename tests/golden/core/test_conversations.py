"""Whole conversations, packet by packet: state, counts and timeout after each, from the tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lvsd.core.verdict import Verdict
from tests.unit.core.world import World, counts

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Conversation:
    """A section of a table: its name, its packets, and the lines that are to come out."""

    protocol: str
    name: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.protocol}: {self.name}"


def _read(protocol: str) -> list[Conversation]:
    sections = (HERE / f"{protocol}.txt").read_text().split("\n== ")[1:]
    return [
        Conversation(protocol, name, tuple(" ".join(line.split()) for line in lines if line))
        for name, *lines in (section.splitlines() for section in sections)
    ]


CONVERSATIONS = [each for protocol in ("tcp", "sctp", "udp") for each in _read(protocol)]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)
def test_every_packet_leaves_the_state_the_counts_and_the_timeout_of_the_table(
    conversation: Conversation, version: int
) -> None:
    world = World(version)
    server = world.serve(conversation.protocol).servers[0]
    request = world.from_client(protocol=conversation.protocol)
    seen = []
    for line in conversation.lines:
        world.wait(0.5)
        who, written = line.split()[:2]
        what = "" if written == "-" else written
        if who == "C":
            outcome = world.handle(replace(request, what=what))
        else:
            outcome = world.reply(replace(world.to_server(request).reversed, what=what))
        rows = list(world.balancer.connections())
        state = "pass" if outcome is Verdict.PASS else rows[0].state_name
        left = rows[0].expires - world.now if rows else 0
        active, inactive = counts(server)
        seen.append(f"{who} {written} {state} {active} {inactive} {left:g}")
    assert seen == list(conversation.lines)
