"""Packets of one's own: what the director of a configuration does with a capture file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.explain import Explanation, explain, explain_capture
from lvsd.explain.captures import pcap

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.explain.captured import Seen

START_S = 1_700_000_000.0


def configuration(path: Path, mode: str, rules: str = "") -> Path:
    """Write the configuration of what `explain` has as its default."""
    network, port = ("10.1.0", 80) if mode == "tun" else ("10.0.0", 80 if mode == "dr" else 8080)
    servers = "".join(
        f'[[service.server]]\naddress = "{network}.{number}:{port}"\nweight = {weight}\n'
        for number, weight in ((11, 3), (12, 2), (13, 1))
    )
    path.write_text(
        f'[[service]]\nname = "web"\naddress = "198.51.100.10:80"\n'
        f'protocol = "tcp"\nforward = "{mode}"\n'
        f"{rules}{servers}"
    )
    return path


def capture(path: Path, told: Explanation, title: str = "receives") -> Path:
    """Write what the director of an explanation receives, or sends."""
    frames = [
        hop.frame.data
        for journey in told.journeys
        for hop in journey.hops
        if (hop.host, hop.title) == ("director", title)
    ]
    with path.open("wb") as file:
        pcap.write(file, [(START_S + number / 100, data) for number, data in enumerate(frames)])
    return path


def seen_of(tmp_path: Path, told: Explanation, mode: str, rules: str = "") -> list[Seen]:
    config = configuration(tmp_path / "lvsd.toml", mode, rules)
    return list(explain_capture(capture(tmp_path / "in.pcap", told), config, dip="10.0.0.1"))


@pytest.mark.parametrize("mode", ["nat", "dr", "tun"])
def test_a_configured_director_does_what_the_explanation_says(tmp_path: Path, mode: str) -> None:
    told = explain(mode)
    seen = seen_of(tmp_path, told, mode)
    sent = [
        hop.frame.data[14:]
        for journey in told.journeys
        for hop in journey.hops
        if (hop.host, hop.title) == ("director", "sends")
    ]
    assert [each.journey.hops[-1].frame.data[14:] for each in seen] == sent
    assert {each.plan for each in seen} == {told.plan}


def test_the_first_packet_has_the_schedulers_reason_and_later_ones_have_none(
    tmp_path: Path,
) -> None:
    told = explain("nat")
    first, *others = seen_of(tmp_path, told, "nat")
    assert told.choice
    assert first.choice
    assert [(each.number, each.picked) for each in first.choice.candidates] == [
        (each.number, each.picked) for each in told.choice.candidates
    ]
    assert {each.choice for each in others} == {None}


def test_time_goes_on_in_the_captures_own_seconds(tmp_path: Path) -> None:
    told = explain("nat")
    frames = [told.journeys[0].hops[1].frame.data, told.journeys[3].hops[1].frame.data]
    with (tmp_path / "in.pcap").open("wb") as file:
        pcap.write(file, [(START_S, frames[0]), (START_S + 61, frames[1])])
    config = configuration(tmp_path / "lvsd.toml", "nat")
    first, second = explain_capture(tmp_path / "in.pcap", config)
    assert first.journey.entry
    assert first.journey.entry.expires_s == 60
    assert second.journey.outcome == "The director leaves it to the host's own stack."


def test_what_no_rule_diverts_goes_by(tmp_path: Path) -> None:
    told = explain("nat", vip="198.51.100.99:80")
    requests = [each for each in seen_of(tmp_path, told, "nat") if each.number == 1]
    assert [each.journey.outcome for each in requests] == [
        "No rule of lvsd's diverts it: it goes by."
    ]


def test_a_drop_says_why(tmp_path: Path) -> None:
    told = explain("nat")
    config = configuration(tmp_path / "lvsd.toml", "nat")
    config.write_text(config.read_text().replace("weight = ", "weight = 0 # "))
    first, *_ = explain_capture(capture(tmp_path / "in.pcap", told), config)
    assert first.journey.outcome == (
        "The director drops it: no real server is usable (no_server); its sender is told by ICMP."
    )
