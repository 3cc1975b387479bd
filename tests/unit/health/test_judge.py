"""When a server is up or down, by the results of its check."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lvsd.health.judge import CALM_S, MOST_FLAPS, Judge

GOOD, BAD = True, False


def judged(judge: Judge, *results: bool, now: float = 0.0) -> list[bool]:
    """Return the judgement after each result."""
    judgements = []
    for result in results:
        judge.take(is_good=result, now=now)
        judgements.append(judge.is_up)
    return judgements


def known(fall: int = 3, rise: int = 2) -> Judge:
    """Return the judge of a server that was found well."""
    judge = Judge(fall, rise, 0.0)
    judge.take(is_good=True, now=0.0)
    return judge


def test_a_server_is_up_before_the_first_result() -> None:
    assert Judge(3, 2, 0.0).is_up


def test_the_first_result_decides_by_itself() -> None:
    assert judged(Judge(3, 2, 0.0), BAD) == [False]
    assert judged(Judge(3, 2, 0.0, is_up=False), GOOD) == [True]


def test_so_many_bad_results_in_a_row_take_it_down() -> None:
    assert judged(known(fall=3), BAD, BAD, BAD) == [True, True, False]


def test_a_good_result_between_begins_the_count_anew() -> None:
    assert judged(known(fall=2), BAD, GOOD, BAD, BAD) == [True, True, True, False]


def test_so_many_good_results_in_a_row_bring_it_up() -> None:
    judge = known(fall=1, rise=3)
    assert judged(judge, BAD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD) == [False] * 6 + [True]


def test_a_change_is_told_once() -> None:
    judge = known(fall=2)
    assert [judge.take(is_good=BAD, now=1.0) for _ in range(4)] == [False, True, False, False]


def test_since_is_when_the_judgement_last_changed() -> None:
    judge = known(fall=2)
    judge.take(is_good=BAD, now=5.0)
    assert judge.since == 0.0
    judge.take(is_good=BAD, now=6.0)
    assert judge.since == 6.0
    judge.take(is_good=BAD, now=7.0)
    assert judge.since == 6.0


def test_it_is_changing_while_results_speak_against_the_judgement() -> None:
    judge = known(fall=3)
    seen = []
    for result in (GOOD, BAD, BAD, BAD, BAD, GOOD, GOOD):
        judge.take(is_good=result, now=0.0)
        seen.append(judge.is_changing)
    assert seen == [False, True, True, False, False, True, False]


def test_each_fall_soon_after_a_rise_doubles_the_good_results_that_are_needed() -> None:
    judge = known(fall=1, rise=2)
    needed = []
    for _ in range(MOST_FLAPS + 3):
        judge.take(is_good=BAD, now=10.0)
        needed.append(judge.needed)
        while not judge.is_up:
            judge.take(is_good=GOOD, now=10.0)
    assert needed == [2, 4, 8, 16, 32, 64, 64, 64]


def test_a_server_that_was_up_for_long_is_not_flapping() -> None:
    judge = known(fall=1, rise=1)
    for now in (1.0, 2.0, 3.0):
        judge.take(is_good=BAD, now=now)
        while not judge.is_up:
            judge.take(is_good=GOOD, now=now)
    judge.take(is_good=BAD, now=3.0 + CALM_S)
    assert (judge.flaps, judge.needed) == (0, 1)


def test_the_first_fall_is_not_flapping_however_soon_it_comes() -> None:
    judge = known(fall=1, rise=2)
    judge.take(is_good=BAD, now=0.5)
    assert judge.needed == 2


def test_other_rules_apply_from_the_next_result_on() -> None:
    judge = known(fall=5)
    judged(judge, BAD, BAD)
    judge.change_rules(3, 2)
    assert judged(judge, BAD) == [False]


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_a_judgement_changes_only_with_the_result_that_speaks_for_it(
    fall: int, rise: int, results: list[bool]
) -> None:
    judge = Judge(fall, rise, 0.0)
    for now, result in enumerate(results):
        before = judge.is_up
        changed = judge.take(is_good=result, now=float(now))
        assert changed is (judge.is_up is not before)
        if changed:
            assert judge.is_up is result
            assert judge.in_a_row >= (min(fall, rise) if now else 1)
