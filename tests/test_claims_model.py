"""A model of the threads around Claims: each version acts once, and everything due acts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kms.claims import Claims, Position
from kms.due import Due
from kms.schedule import Record, Row, fired_headers, fold

Step = tuple[Any, ...]  # a method's name and its arguments
LIMIT = 2  # rows that one search finds at most
IDS = (b"a", b"b", b"c")
# What can happen next, each line as often as every other.
STEPS: list[list[Step]] = [
    [("write", 0, i, due_ms) for i in IDS for due_ms in range(3)],
    [("write", 0, b"a", None), ("write", 0, b"a", 9), ("write", 1, b"a", 0), ("time_passes",)]
    + [
        ("revoke_or_assign", number, *flags)
        for number in (0, 1)
        for flags in ((True, True), (False, True), (False, False))
    ],
    [("consume", number, steps) for number in (0, 0, 0, 1) for steps in range(1, 5)],
    [("schedule", number, steps) for number in (0, 0, 0, 1) for steps in range(1, 5)],
    [("schedule", 0, steps) for steps in range(1, 5)],
    [("produce", count, commit) for count in (1, 2, 3) for commit in (True, True, False)],
    [("produce", count, True) for count in (1, 2, 3)],
]


@dataclass
class Partition:
    """The topic's log and the store's rows."""

    number: int
    log: list[Record] = field(default_factory=list)
    rows: dict[bytes, Row] = field(default_factory=dict)
    folded: int = 0
    openings: int = 0
    is_open: bool = False

    def append(self, schedule_id: bytes, due_ms: int | None, fired: int | None = None) -> None:
        value = None if due_ms is None else b"%d" % due_ms
        headers = [] if fired is None else fired_headers(fired, "topic")
        self.log.append(Record(len(self.log), schedule_id, value, headers))

    def fold(self, count: int) -> dict[bytes, int | None]:
        """Commit the next records; the ids that were touched, with their rows' offsets."""
        todo = self.log[self.folded : self.folded + count]
        self.folded += len(todo)
        for record in todo:
            fold(self.rows, record, "topic", lambda it: int(it.value or b""))
        return {it.id: self.rows[it.id].offset if it.id in self.rows else None for it in todo}

    def dues(self) -> list[Due]:
        """A new claim for each row, in the order of a search."""
        rows = sorted(self.rows.items(), key=lambda item: (item[1].due_ms, item[1].offset))
        return [
            Due(self.number, i, row.offset, row.due_ms, row.value, (), row.republish)
            for i, row in rows
        ]


@dataclass
class Search:
    """The scheduler's search of one partition, between two of its steps."""

    number: int
    after: Position
    overtaken: list[Due] | None = None
    found: list[Due] | None = None


class Threads(RuleBasedStateMachine):
    """Consumer, scheduler and producer, each in the smallest steps that others can see."""

    def __init__(self) -> None:
        super().__init__()
        self.awake = False
        self.claims = Claims(self.wake)
        self.parts = [Partition(0), Partition(1)]
        self.now_ms = 5
        self.untold: list[tuple[int, dict[bytes, int | None]]] = []  # by the consumer
        self.unstored: list[tuple[int, Position]] = []
        self.search: Search | None = None
        self.queue: list[Due] = []
        self.running: list[Due] | None = None  # the transaction
        self.began_in: dict[int, int] = {}
        self.acted: set[tuple[int, bytes, int]] = set()
        for part in self.parts:
            self.open(part)

    def wake(self) -> None:
        self.awake = True

    # One rule, for hypothesis leaves out some rules in each run and all of these are needed.
    @rule(step=st.one_of([st.sampled_from(steps) for steps in STEPS]))
    def step(self, step: Step) -> None:
        getattr(self, step[0])(*step[1:])

    def write(self, number: int, schedule_id: bytes, due_ms: int | None) -> None:
        self.parts[number].append(schedule_id, due_ms)

    def time_passes(self) -> None:
        self.now_ms += 2

    # The consumer: commit, then void claims, then say what is new.

    def consume(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if self.untold:
                self.claims.folded(*self.untold.pop())
            elif self.unstored:
                self.claims.stored(*self.unstored.pop())
            else:
                self.commit(self.parts[number], steps)

    def commit(self, part: Partition, count: int) -> None:
        offsets = part.fold(count)
        self.untold.append((part.number, offsets))
        rows = [part.rows[i] for i, offset in offsets.items() if offset is not None]
        if rows:
            earliest = min((row.due_ms, row.offset) for row in rows)
            self.unstored.append((part.number, earliest))

    def revoke_or_assign(self, number: int, elsewhere: bool, back: bool) -> None:
        while self.untold or self.unstored:
            self.consume(number, 1)
        part = self.parts[number]
        if part.is_open:
            runs = any(each.number == number for each in self.running or ())
            assert self.claims.close([number]) is not runs
            part.openings += 1
            part.is_open = False
            if not back:
                return
        part.fold(len(part.log))
        if elsewhere:  # another instance had it, and fired
            self.act([each for each in part.dues() if each.due_ms <= self.now_ms])
        self.open(part)

    def open(self, part: Partition) -> None:
        part.fold(len(part.log))  # to the end: what was fired elsewhere is known
        part.openings += 1
        part.is_open = True
        self.claims.open(part.number)

    # The scheduler: start a search, read what is overtaken, read what is due, take both.

    def schedule(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if self.search is None:
                after = self.claims.start_of_search(number)
                self.search = None if after is None else Search(number, after)
            else:
                self.go_on_searching(self.search)

    def go_on_searching(self, search: Search) -> None:
        dues = self.parts[search.number].dues()
        if search.overtaken is None:
            search.overtaken = [each for each in dues if each.republish]
        elif search.found is None:
            due = [it for it in dues if it.due_ms <= self.now_ms]
            search.found = [it for it in due if (it.due_ms, it.offset) > search.after][:LIMIT]
        else:
            self.search, last = None, search.after
            if search.found:
                last = search.found[-1].due_ms, search.found[-1].offset
            both = search.overtaken + search.found
            self.queue += self.claims.take(search.number, both, last)

    # The producer: begin, then commit or give back.

    def produce(self, count: int, commit: bool) -> None:
        if self.running is None:
            self.begin(count)
        else:
            self.end(commit)

    def begin(self, count: int) -> None:
        batch, self.queue = self.queue[:count], self.queue[count:]
        self.running = self.claims.begin(batch)
        for each in self.running:
            assert self.parts[each.number].is_open
            assert (each.number, each.id, each.offset) not in self.acted
        self.began_in = {part.number: part.openings for part in self.parts}

    def end(self, commit: bool) -> None:
        assert self.running is not None
        batch, self.running = self.running, None
        # The group coordinator refuses the offsets of partitions that are not ours any more.
        ours = all(self.parts[it.number].openings == self.began_in[it.number] for it in batch)
        if commit and ours:
            self.act(batch)
            self.claims.end()
        else:
            self.claims.give_back(batch)

    def act(self, batch: Iterable[Due]) -> None:
        for each in batch:
            version = each.number, each.id, each.offset
            assert version not in self.acted
            self.acted.add(version)
            part = self.parts[each.number]
            if each.republish:
                part.append(each.id, each.due_ms)
            else:
                part.append(each.id, None, each.offset)

    @invariant()
    def no_row_is_claimed_twice(self) -> None:
        assert self.claims.count() <= sum(len(part.rows) + len(part.log) for part in self.parts)
        valid = [it for it in self.queue if self.claims._holds(it)]
        assert len({(it.number, it.id) for it in valid}) == len(valid)

    def teardown(self) -> None:
        """Let all end what they have begun: nothing that is due may be left."""
        if self.running is not None:
            self.end(True)
        for part in self.parts:
            if not part.is_open:
                self.revoke_or_assign(part.number, False, True)
        while self.go_on():
            pass
        for part in self.parts:
            assert not [it for it in part.dues() if it.republish or it.due_ms <= self.now_ms]

    def go_on(self) -> bool:
        """One round of every thread, the scheduler's only if something wakes it."""
        before = len(self.acted)
        for part in self.parts:
            self.consume(part.number, 9)
        while self.search is not None:
            self.go_on_searching(self.search)
        woken, self.awake = self.awake, False
        for part in self.parts:
            start = self.claims.next_search(part.number)
            assert start is not None
            behind = [it for it in part.dues() if (it.due_ms, it.offset) > start]
            if woken or any(it.due_ms <= self.now_ms for it in behind):
                self.schedule(part.number, 4)
        queued = bool(self.queue)
        if queued:
            self.begin(3)
            self.end(True)
        return woken or queued or len(self.acted) > before


TestThreads = Threads.TestCase
TestThreads.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
