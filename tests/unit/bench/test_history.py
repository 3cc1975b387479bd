"""The history for the kernel: its times are such that no timeout comes near another event."""

from __future__ import annotations

import pytest

from lvsd.bench.farm import Farm
from lvsd.bench.history import LINGER_S, STEP_S, Dictated, history, replay
from lvsd.bench.kernel import comparison
from lvsd.bench.plugins import chosen
from lvsd.bench.quality import scaled
from lvsd.bench.workloads import Arrival, flow_of
from schedulers import BUILT_IN
from tests.unit.bench.cases import case


def test_times_are_multiples_of_a_step_and_ends_come_before_arrivals() -> None:
    coming = [
        Arrival(0.1, 0.2, flow_of(1, 1, 5)),
        Arrival(0.9, 90.0, flow_of(2, 2, 6)),
        Arrival(1.7, 9.0, flow_of(3, 3, 5)),
    ]
    story = history(coming)
    assert story.events == (
        (0.0, "open", 0),
        (0.8, "end", 0),
        (0.8, "open", 1),
        (1.6, "open", 2),
    )


def test_an_entry_is_forgotten_in_the_midst_between_two_steps() -> None:
    steps = LINGER_S / STEP_S
    assert steps - int(steps) == pytest.approx(0.5)


def test_the_question_names_real_addresses() -> None:
    story = history([Arrival(0.0, 5.0, flow_of(1, 7, 5))])
    assert story.question([("wlc", [3, 1])]) == {
        "version": 4,
        "connections": [["100.64.0.2", 1031, "192.0.2.1"]],
        "events": ((0.0, "open", 0),),
        "services": [{"scheduler": "wlc", "weights": [3, 1]}],
    }


def test_what_was_dictated_is_replayed() -> None:
    story = history([Arrival(0.0, 5.0, flow_of(client, client, 5)) for client in range(4)])
    played = replay(story, Farm(Dictated([1, 0, None, 1]), [1, 1]))
    assert played.picks == (1, 0, None, 1)
    assert played.jain == pytest.approx(0.9)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_scheduler_picks_what_its_rule_does_and_differences_are_counted(name: str) -> None:
    some = case(load=3)
    story = history(some.arrivals, 300)
    weights = scaled(name, some)
    (candidate,) = chosen(name)
    picks = replay(story, Farm(candidate.make(), weights)).picks
    same = comparison(candidate, picks, story, weights)
    assert (same.ours_agree, same.rule_agree) == (300, 300)
    assert same.kernel == same.ours == same.rule
    other = comparison(candidate, [None, *picks[1:]], story, weights)
    assert (other.ours_agree, other.rule_agree) == (299, 299)
