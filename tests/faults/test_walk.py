"""A short random walk over the faults; ``scripts/faults`` takes long ones."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.faults.walk import Walk, plan


@pytest.mark.timeout(400)
def test_a_short_walk_keeps_every_promise(tmp_path: Path) -> None:
    walk = Walk(tmp_path, seed=3, instances=2, rate=100)
    said: list[str] = []
    try:
        verdict = walk.run(45.0, said.append)
    finally:
        walk.close()
    assert not walk.crashes, walk.crashes
    assert verdict.fired > 0
    assert verdict.is_clean(), f"{verdict}\n{said}"


def test_a_seed_gives_the_same_plan_again() -> None:
    assert list(islice(plan(7, 3), 200)) == list(islice(plan(7, 3), 200))
    assert list(islice(plan(7, 3), 200)) != list(islice(plan(8, 3), 200))
