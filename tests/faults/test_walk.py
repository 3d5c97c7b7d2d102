"""The plan of the random walk; ``scripts/faults`` takes the walk itself."""

from __future__ import annotations

from itertools import islice

from tests.faults.walk import plan


def test_a_seed_gives_the_same_plan_again() -> None:
    assert list(islice(plan(7, 3), 200)) == list(islice(plan(7, 3), 200))
    assert list(islice(plan(7, 3), 200)) != list(islice(plan(8, 3), 200))
