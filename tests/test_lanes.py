"""Lanes in the cache and in the claims: found apart, in order, and by whoever lists what waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kms.claims import Claims
from kms.due import Due
from kms.failures import Failure
from kms.gate import Gate, Verdict
from kms.lane_keeper import LaneKeeper
from kms.lane_search import LaneSearch
from kms.pauses import Pause, Stretch
from kms.rates import Rates
from kms.schedule import Header, Row
from kms.store import CacheFile, Filter, PageReader, PartitionRows, Reader, Writer

BEFORE = (-1, -1)


class Store:
    """A cache with two partitions."""

    def __init__(self, file: CacheFile, reader: Reader, pages: PageReader, writer: Writer) -> None:
        self.path, self.reader, self.pages, self.writer = file.path, reader, pages, writer
        self.parts = [
            writer.rows(writer.restart("schedules", number, "id", "cluster", 0).number)
            for number in range(2)
        ]
        self.numbers = [part.number for part in self.parts]

    def put(self, part: PartitionRows, *due_ms: int, headers: tuple[Header, ...] = ()) -> list[Due]:
        """Rows whose ids and offsets are their due times."""
        for each in due_ms:
            part[b"%d" % each] = Row(each, each, b"v", headers)
        self.writer.commit([part], {}, {})
        return [Due(part.number, b"%d" % each, each, each, b"v") for each in due_ms]

    def due(self, part: PartitionRows, lane: int = 0) -> list[int]:
        return [it.due_ms for it in self.reader.due(part.number, BEFORE, 99, 99, lane)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with (
        closing(CacheFile(tmp_path / "cache.sqlite")) as file,
        closing(Writer(file)) as writer,
        closing(Reader(file.path)) as reader,
        closing(PageReader(file.path)) as pages,
    ):
        yield Store(file, reader, pages, writer)


def test_what_is_set_aside_is_found_in_its_lane_alone(store: Store) -> None:
    first, second = store.parts
    rows = store.put(first, 5, 6, 7) + store.put(second, 8)
    store.writer.set_aside(1, "target", [rows[2], rows[0], rows[3]])
    assert (store.due(first), store.due(first, 1)) == ([6], [5, 7])
    assert (store.due(second), store.due(second, 1)) == ([], [8])
    assert [it.lane for it in store.reader.due(first.number, BEFORE, 99, 99, 1)] == [1, 1]
    assert store.reader.next_due_ms(first.number, BEFORE, 1) == 5
    assert store.reader.lanes() == {1: "target"}
    assert store.pages.held_back(store.numbers, 7) == {"target": 2}


def test_what_was_replaced_meanwhile_stays(store: Store) -> None:
    first, _ = store.parts
    (old,) = store.put(first, 5)
    first[b"5"] = Row(50, 55, b"new")
    store.writer.commit([first], {}, {})
    store.writer.set_aside(1, "target", [old])
    assert (store.due(first), store.due(first, 1)) == ([55], [])


def test_an_update_leaves_the_lane_and_a_tombstone_removes_it(store: Store) -> None:
    first, _ = store.parts
    rows = store.put(first, 5, 6)
    store.writer.set_aside(1, "target", rows)
    first[b"5"] = Row(50, 55, b"new")
    del first[b"6"]
    store.writer.commit([first], {}, {})
    assert (store.due(first), store.due(first, 1)) == ([55], [])


def test_it_forgets_that_it_failed(store: Store) -> None:
    first, _ = store.parts
    (row,) = store.put(first, 5)
    store.writer.note([Failure(row, 1, 0, 0, "too-large", "")])
    assert store.reader.again(first.number, 99, 9)[0]
    store.writer.set_aside(1, "target", [row])
    assert not store.reader.again(first.number, 99, 9)[0]
    assert store.due(first, 1) == [5]


def test_what_fails_out_of_a_lane_is_tried_again(store: Store) -> None:
    first, _ = store.parts
    (row,) = store.put(first, 5)
    store.writer.set_aside(2, "target", [row])
    store.writer.note([Failure(row, 1, 0, 0, "too-large", "")])
    assert store.due(first, 2) == []
    assert [it.lane for it in store.reader.again(first.number, 99, 9)[0]] == [2]


def test_whoever_lists_what_waits_finds_it(store: Store) -> None:
    first, second = store.parts
    rows = store.put(first, 5, 6, 7) + store.put(second, 8)
    store.writer.set_aside(2, "target", [rows[0]])
    store.writer.set_aside(9, "other", [rows[3]])
    store.writer.note([Failure(rows[3], 1, 0, 0, "too-large", "")])
    wanted = [b"5", b"6", b"7", b"8"]
    assert [it.id for it in store.reader.pending(Filter())] == wanted
    assert [it.id for it in store.reader.pending(Filter(before_ms=8))] == wanted[:3]
    assert [it.id for it in store.reader.pending(Filter(failed=True))] == [b"8"]
    assert [it.id for it in store.reader.pending(Filter(id=b"5"))] == [b"5"]
    assert store.reader.count(Filter()) == 4
    assert [it.id for it in store.pages.walk(store.numbers)] == wanted
    assert [it.id for it in store.pages.walk(store.numbers, failed=True)] == [b"8"]
    assert [it.id for it in store.pages.walk(store.numbers, failed=False)] == wanted[:3]


def test_pauses_are_kept_for_those_who_look(store: Store) -> None:
    store.writer.remember_pauses({"a": 1, "b": 2})
    store.writer.remember_pauses({"b": 3})
    assert store.reader.pauses() == {"b": 3}


def test_the_oldest_of_all_partitions_go_first_as_many_as_there_is_room_for(store: Store) -> None:
    first, second = store.parts
    rows = store.put(first, 5, 7, 9) + store.put(second, 6, 8)
    store.writer.set_aside(1, "target", rows)
    now = [0.0]
    gate = Gate(rates=Rates({"target": 30.0}, clock=lambda: now[0]), lanes={1: "target"})
    claims = Claims()
    search = LaneSearch(store.reader, claims, gate)
    for number in store.numbers:
        claims.open(number)
    assert search.take(99, 99) == []
    taken = []
    for _ in range(3):
        now[0] += 1.0  # room for three at once
        taken.append(sorted(it.due_ms for it in search.take(99, 99)))
    assert taken == [[5, 6, 7], [8, 9], []]
    assert search.next_ms() == []


def test_what_is_skipped_needs_no_room(store: Store) -> None:
    first, second = store.parts
    rows = store.put(first, 5, 6, 20, 21) + store.put(second, 7, 8, 22)
    store.writer.set_aside(1, "target", rows)
    now = [0.0]
    gate = Gate(rates=Rates({"target": 1.0}, clock=lambda: now[0]), lanes={1: "target"})
    gate.pauses.replace({"target": Pause(None, (Stretch(0, 10),))})
    claims = Claims()
    search = LaneSearch(store.reader, claims, gate)
    for number in store.numbers:
        claims.open(number)
    skipped = [sorted(it.due_ms for it in search.take(99, 2))]
    before = search.next_ms()  # at once, though nothing may be sent for a while
    skipped += [sorted(it.due_ms for it in search.take(99, 2))]
    assert (skipped, before) == ([[5, 6, 7, 8], []], [20])
    assert search.next_ms()[0] > 99
    now[0] = 1.0
    assert [it.due_ms for it in search.take(99, 2)] == [20]


def test_what_comes_too_late_needs_no_room(store: Store) -> None:
    first, _ = store.parts
    rows = store.put(first, *range(5, 9), headers=(("kms-expires", b"1m"),))
    rows += store.put(first, 9, 10)
    store.writer.set_aside(1, "target", rows)
    now = [0.0]
    gate = Gate(rates=Rates({"target": 1.0}, clock=lambda: now[0]), lanes={1: "target"})
    claims = Claims()
    search = LaneSearch(store.reader, claims, gate)
    claims.open(first.number)
    now[0] = 1.0
    assert [it.due_ms for it in search.take(99, 99)] == [5, 6, 7, 8, 9]
    now[0] = 1.9
    newcomer = Due(first.number, b"new", 11, 11, b"v")
    assert gate.judge(newcomer, "target") is Verdict.HOLD  # one still waits in the lane
    assert search.take(99, 99) == []
    now[0] = 2.0
    assert [it.due_ms for it in search.take(99, 99)] == [10]


def test_what_was_given_back_is_taken_again_where_it_waits(store: Store) -> None:
    first, _ = store.parts
    rows = store.put(first, 5, 6)
    store.writer.set_aside(1, "target", rows)
    claims, gate = Claims(), Gate(lanes={1: "target"})
    search = LaneSearch(store.reader, claims, gate)
    claims.open(first.number)
    taken = search.take(99, 99)
    assert search.take(99, 99) == []
    claims.begin(taken)
    claims.give_back([taken[0]])
    assert [it.due_ms for it in search.take(99, 99)] == [5]
    assert claims.start_of_search(first.number) < (5, 5)  # type: ignore[operator]


def test_what_must_be_written_again_is_not_held_back(store: Store) -> None:
    """Its older version's tombstone lies behind it: compaction would erase it."""
    first, _ = store.parts
    (row,) = store.put(first, 5)
    first[b"5"] = Row(5, 5, b"v", republish=True)  # while it is on its way into the lane
    store.writer.commit([first], {}, {})
    store.writer.set_aside(1, "target", [row])
    assert [it.id for it in store.reader.overtaken(first.number, 9)] == [b"5"]
    assert store.due(first, 1) == []


def test_the_failure_of_a_newer_version_is_not_forgotten(store: Store) -> None:
    first, _ = store.parts
    (old,) = store.put(first, 5)
    first[b"5"] = Row(50, 5, b"new")
    store.writer.commit([first], {}, {})
    newer = Due(first.number, b"5", 50, 5, b"new")
    store.writer.note([Failure(newer, 1, 0, 0, "too-large", "")])
    store.writer.set_aside(1, "target", [old])
    assert [it.offset for it in store.reader.again(first.number, 99, 9)[0]] == [50]


def test_what_is_held_is_in_its_lane_before_it_is_released(store: Store) -> None:
    """Else a search in between would find it where it was, and it would be fired."""
    first, _ = store.parts
    (row,) = store.put(first, 5)
    seen: list[tuple[list[int], list[int]]] = []

    class Watched(Claims):
        def release(self, batch: Iterable[Due]) -> None:
            seen.append((store.due(first), store.due(first, 1)))
            super().release(batch)

    claims, gate = Watched(), Gate()
    claims.open(first.number)
    claims.start_of_search(first.number)
    (held,) = claims.take(first.number, [row], None)
    gate.hold([(held, "target")])
    LaneKeeper(store.writer, claims, gate).turn()
    assert seen == [([], [5])]
    assert claims.count() == 0
