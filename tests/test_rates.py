"""How much a second may be sent: never more, whatever the times of those who ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kms.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(
    st.tuples(st.floats(0, 2, allow_nan=False), st.integers(1, 20)), min_size=1, max_size=60
)


@given(st.floats(0.5, 500), st.sampled_from([0.25, 0.5, 1.0]), STEPS)
def test_in_no_stretch_of_time_is_more_sent_than_it_allows(
    rate: float, share: float, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    rates = Rates({"target": rate}, lambda: share, clock)
    sent: list[tuple[float, int]] = []
    for seconds, wanted in steps:
        clock.now += seconds
        count = min(wanted, rates.room("target") or 0)
        if count and rates.take("target", count):
            sent.append((clock.now, count))
    at_once = max(rate * share * 0.1, 1.0)
    for start, _ in sent:
        for end, _ in sent:
            count = sum(each for at, each in sent if start <= at <= end)
            assert count <= rate * share * max(end - start, 0) + at_once + 1e-6


@given(st.floats(0.5, 500), st.sampled_from([0.25, 1.0]))
def test_after_the_wait_there_is_room(rate: float, share: float) -> None:
    clock = Clock()
    rates = Rates({"target": rate}, lambda: share, clock)
    assert not rates.take("target", 1)  # it begins with nothing
    clock.now += rates.wait_seconds("target") + 1e-6
    assert rates.take("target", 1)


def test_without_a_limit_there_is_room_for_all() -> None:
    rates = Rates({"target": 1.0})
    assert rates.room("other") is None
    assert rates.take("other", 10**9)
    assert rates.wait_seconds("other") == 0


def test_without_a_partition_nothing_is_sent() -> None:
    clock = Clock()
    rates = Rates({"target": 5.0}, lambda: 0.0, clock)
    clock.now += 1_000
    assert not rates.take("target", 1)
    assert rates.wait_seconds("target") > 0
