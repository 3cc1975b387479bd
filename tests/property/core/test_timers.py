"""The timer wheel against a sorted list: random adding, moving, removing and waiting."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lvsd.core.timers import Wheel

TERMS = st.one_of(st.floats(0, 5), st.floats(0, 2000), st.integers(0, 2000).map(float))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), TERMS),
        st.tuples(st.just("set"), TERMS),
        st.tuples(st.just("remove"), st.just(0.0)),
        st.tuples(st.just("wait"), st.floats(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 900.0, 1e6])),
    ),
    max_size=60,
)


@dataclass(eq=False)
class Entry:
    """Something that ends."""

    expires: float
    due: int = 0


@given(steps=STEPS, choice=st.randoms(use_true_random=False), limit=st.sampled_from([1, 3, 10**6]))
def test_an_entry_ends_never_early_and_at_most_the_rest_of_its_second_late(
    steps: list[tuple[str, float]], choice: object, limit: int
) -> None:
    pick = choice.choice  # type: ignore[attr-defined]  # a random.Random
    now = 1000.25
    wheel: Wheel[Entry] = Wheel(now)
    living: set[Entry] = set()
    for step, value in steps:
        if step == "add":
            entry = Entry(now + value)
            living.add(entry)
            wheel.add(entry)
        elif step == "wait":
            now += value
            ended, more = wheel.expired(now, limit)
            while more:
                some, more = wheel.expired(now, limit)
                ended += some
            assert living.issuperset(ended)
            assert len(set(ended)) == len(ended)
            assert all(entry.expires <= now for entry in ended)
            living.difference_update(ended)
            assert all(entry.expires >= int(now) for entry in living)
        elif living:
            entry = pick(sorted(living, key=lambda each: (each.expires, id(each))))
            if step == "set":
                entry.expires = now + value
                wheel.hasten(entry)
            else:
                living.remove(entry)
                wheel.remove(entry)
    wheel.expired(now + 10**7, 10**6)
    assert wheel._buckets == {}
