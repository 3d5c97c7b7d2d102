"""Delivery as a state machine: whatever happens, each schedule fires once and in time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kms.pauses import ALL
from tests.model.instance import CONSUMER, PRODUCER, SCHEDULER
from tests.model.kafka import TARGET
from tests.model.steps import HOUR_MS
from tests.model.world import World

pytestmark = pytest.mark.slow

# More of them: KMS_MODEL_EXAMPLES=50000 pytest --timeout=0 tests/model/test_delivery_model.py
EXAMPLES = int(os.environ.get("KMS_MODEL_EXAMPLES", "300"))
STEPS = 50
ENDS = ["go on", "kept", "lost"]

Step = tuple[Any, ...]  # what happens, and its arguments

# How often each kind of step is taken, and the values of its arguments.
KINDS: dict[str, tuple[int, Callable[[int], Iterator[Step]]]] = {
    "write": (6, lambda count: product(range(count), [b"a", b"a", b"b"], [0, 0, 3], [1, 3])),
    "cancel": (2, lambda count: product(range(count), [b"a", b"a", b"b"])),
    "consume": (8, lambda _: product(range(3), [9, 9, 1], [False, True])),
    "fire": (8, lambda _: product(range(3), [0, 0, 2, 3, 4, 5])),
    "go_on": (8, lambda _: product([CONSUMER, SCHEDULER, PRODUCER], range(3), [0, 1, 2, 3])),
    "answer": (1, lambda _: product(range(3), [0, 1])),
    "lose": (3, lambda _: product(range(3))),
    "wait": (3, lambda _: iter([(10_000, False), (HOUR_MS, True), (2 * HOUR_MS, True)])),
    "clean": (3, lambda count: product(range(count), [0, 0, 1])),
    "rebalance": (2, lambda count: product(*[range(2)] * count)),
    "expire": (1, lambda _: product(range(3))),
    "time_out": (1, lambda _: product(range(2))),
    "write_marker": (8, lambda _: product(range(4))),
    "slow": (1, lambda _: product([False, True], [False, True])),
    "deliver": (4, lambda _: product(range(4))),
    "restart": (2, lambda _: product(range(2), ["kept", "before", "lost"])),
    "hold": (2, lambda _: iter([(None,), (None,), (TARGET,), (ALL,)])),
    "hear": (4, lambda _: product(range(3))),
    "replace": (1, lambda _: product(range(2))),
}
NEEDED = {"write", "consume", "fire", "go_on"}


@cache
def steps(partitions: int, kinds: frozenset[str]) -> st.SearchStrategy[Step]:
    """Any step: one draw, for hypothesis finds and shrinks best what it draws at once."""
    found: list[Step] = []
    for kind, (weight, arguments) in KINDS.items():
        if kind in kinds:
            some = [(kind, *each) for each in arguments(partitions)]
            # The more ways there are to take a step, the less often each of them.
            found += [some[i % len(some)] for i in range(max(len(some), 16 * weight))]
    return st.sampled_from(found)


class Delivery(RuleBasedStateMachine):
    """Two instances on one or two partitions, a few ids, a clock, and all that may go wrong."""

    left_out: ClassVar[Collection[str]] = ()  # rules
    only: ClassVar[Sequence[Step]] = ()  # if there are any: no others, and on one partition
    story: ClassVar[list[str]] = []  # of the last run that failed

    @initialize(
        partitions=st.sampled_from([1, 2]),
        static=st.booleans(),
        slow=st.tuples(st.booleans(), st.booleans()),
        end=st.sampled_from(ENDS),
        # As hypothesis does with rules: some kinds of steps are left out of each run.
        never=st.sets(st.sampled_from(sorted(set(KINDS) - NEEDED))),
    )
    def start(
        self, partitions: int, static: bool, slow: tuple[bool, bool], end: str, never: set[str]
    ) -> None:
        self.partitions = 1 if self.only else partitions
        self.world = World(self.left_out, self.partitions, static=static)
        self.end = end
        self.never = never
        self.world.slow(*slow)
        self.world.rebalance(*range(self.partitions))

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        impossible = self.world.impossible()
        if self.only:
            possible = st.sampled_from([it for it in self.only if it[0] not in impossible])
        else:
            possible = steps(self.partitions, frozenset(set(KINDS) - self.never - impossible))
        kind, *arguments = data.draw(possible)
        getattr(self.world, kind)(*arguments)

    @invariant()
    def nothing_is_fired_that_must_not_be(self) -> None:
        if hasattr(self, "world"):
            self.check(self.world.ledger.wrong)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.world.ledger.wrong:
                self.finish(self.world)
        finally:
            self.world.close()

    def finish(self, world: World) -> None:
        """Everything heals and what is pending fires; a new instance finds nothing to fire."""
        if self.end == "go on":
            world.heal()
        else:
            world.take_over(self.end)
        if self.end == "lost":
            # Only what survives compaction is left for who fires in the end.
            world.clean_all()
            world.take_over("lost")
        world.wait(24 * HOUR_MS)
        world.heal()
        self.check(world.ledger.wrong + world.ledger.lost())
        world.clean_all()
        world.take_over("lost")
        self.check(world.ledger.wrong)

    def check(self, wrong: list[str]) -> None:
        if wrong:
            type(self).story = [*self.world.story, *wrong]
            raise AssertionError("; ".join(wrong))


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
