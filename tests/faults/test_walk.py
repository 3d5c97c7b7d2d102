"""The random walk over all faults: its plan, and a short one of it. scripts/faults walks on."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

from tests.faults.walk import KINDS, Walk, plan


def test_a_seed_gives_the_same_plan_again() -> None:
    first, again, other = (list(islice(plan(seed, 3), 500)) for seed in (1, 1, 2))
    assert first == again != other
    assert {fault.kind for fault in first} == set(KINDS)
    assert {fault.instance for fault in first} == {0, 1, 2}


def test_a_short_walk_loses_nothing_and_fires_nothing_twice(tmp_path: Path) -> None:
    told: list[str] = []
    with closing(Walk(tmp_path, seed=7, instances=2, rate=100)) as walk:
        verdict = walk.run(20, told.append).verdict()
    assert verdict.schedules > 1_000
    assert verdict.fired > 500
    assert verdict.recurring > 20
    assert walk.done.total() >= 2
    assert verdict.is_clean(), "\n".join([str(verdict), *told])
    assert walk.crashes == []
