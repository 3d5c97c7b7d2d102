"""The cache: always the fold of each partition, however it is committed and read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kms.claims import BEFORE_ALL
from kms.due import Due
from kms.errors import CacheError
from kms.failures import Failure
from kms.schedule import Header, Record, Row
from kms.store import (
    CacheFile,
    Filter,
    Folded,
    PartitionRows,
    Pending,
    Reader,
    Writer,
    retry_at_once,
)
from kms.store.bulk import pack_headers, unpack_headers
from tests.test_schedule import TOPIC, fold_all, logs

IDS = (b"a", b"b", b"c")
EXTREMES = [-(2**63), -1, 0, 253_402_300_799_999, 2**63 - 1]
HEADERS: tuple[Header, ...] = (("ключ", b"\x00\xff"), ("null", None), ("", b""), ("null", b"2"))
# number, id, offset, due_ms, value, headers, republish
Fields = tuple[int, bytes, int, int, bytes, tuple[Header, ...], bool]


class Store(NamedTuple):
    path: Path
    writer: Writer
    reader: Reader

    def partition(self, partition: int = 0, topic: str = "schedules") -> PartitionRows:
        """The rows of a partition without any."""
        known = self.writer.restart(topic, partition, TOPIC, "cluster", 0)
        return self.writer.rows(known.number)

    def commit(self, rows: PartitionRows, next_offset: int = 1) -> Folded | None:
        return self.writer.commit([rows], {rows.number: next_offset}, {}).get(rows.number)

    def ids(self, wanted: Filter = Filter()) -> list[bytes]:  # noqa: B008 - it is immutable
        return [found.id for found in self.reader.pending(wanted)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "cache.sqlite"
    with (
        closing(CacheFile(path)) as file,
        closing(Writer(file)) as writer,
        closing(Reader(path)) as reader,
    ):
        yield Store(path, writer, reader)


def plain(due: Due) -> Fields:
    return due.number, due.id, due.offset, due.due_ms, due.value, due.headers, due.republish


def expected(number: int, rows: Mapping[bytes, Row]) -> list[Fields]:
    """Every row as a search finds it, in the order in which they fire."""
    found = [
        (number, i, it.offset, it.due_ms, it.value, it.headers, it.republish)
        for i, it in rows.items()
    ]
    return sorted(found, key=lambda it: (it[3], it[2]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(logs(), logs()), st.data())
def test_the_store_is_the_fold_whenever_it_is_committed(
    store: Store, whole: tuple[list[Record], list[Record]], data: st.DataObject
) -> None:
    parts = [store.partition(0), store.partition(1)]
    rows: list[dict[bytes, Row]] = [{}, {}]
    committed: list[dict[bytes, Row]] = [{}, {}]
    left = [iter(log) for log in whole]
    for _ in range(data.draw(st.integers(0, 5))):
        for part, model, log in zip(parts, rows, left, strict=True):
            some = list(islice(log, data.draw(st.integers(0, 9))))
            fold_all(part, some)
            fold_all(model, some)
            assert {i: part.get(i) for i in IDS} == dict.fromkeys(IDS) | model
        if data.draw(st.booleans()):
            folded = store.writer.commit(parts, {part.number: 0 for part in parts}, {})
            for part, before, after in zip(parts, committed, rows, strict=True):
                assert_says_what_changed(folded.get(part.number), before, after)
            committed = [dict(model) for model in rows]
    for part, model in zip(parts, committed, strict=True):
        assert_found(store.reader, expected(part.number, model), part.number, data)
    counts = {("schedules", i): len(model) for i, model in enumerate(committed)}
    assert store.reader.counts() == counts


def assert_says_what_changed(
    folded: Folded | None, before: dict[bytes, Row], after: dict[bytes, Row]
) -> None:
    offsets, earliest = folded or Folded({}, None)
    changed = {i for i in before.keys() | after.keys() if before.get(i) != after.get(i)}
    assert changed <= offsets.keys()
    assert offsets == {i: after[i].offset if i in after else None for i in offsets}
    written = [(after[i].due_ms, after[i].offset) for i in offsets if i in after]
    assert earliest == min(written, default=None)


def assert_found(reader: Reader, rows: list[Fields], number: int, data: st.DataObject) -> None:
    positions = [BEFORE_ALL, (5, 20), *((it[3], it[2]) for it in rows)]
    after = data.draw(st.sampled_from(positions))
    until_ms, limit = data.draw(st.integers(-1, 10)), data.draw(st.integers(1, 4))
    behind = [it for it in rows if (it[3], it[2]) > after and not it[6]]
    due = [it for it in behind if it[3] <= until_ms]
    assert list(map(plain, reader.due(number, after, until_ms, limit))) == due[:limit]
    assert reader.next_due_ms(number, after) == (behind[0][3] if behind else None)
    overtaken = [it for it in rows if it[6]]
    assert list(map(plain, reader.overtaken(number, limit))) == overtaken[:limit]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("x", 0, 0), ("y", 1, 0), ("x", 1, 1)], None, None, None, 1)
@example([("x", 0, 0)], None, None, 0, None)
@example([("x", 0, 5), ("x", 1, 5), ("y", 0, 5)], None, "x", 6, None)
@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 1), st.integers(0, 5)), max_size=12),
    st.sampled_from([None, b"0", b"3"]),
    st.sampled_from([None, "x", "none"]),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(0, 5),
)
def test_pending_schedules_are_filtered_merged_and_cut(
    store: Store,
    made: list[tuple[str, int, int]],
    schedule_id: bytes | None,
    topic: str | None,
    before_ms: int | None,
    limit: int | None,
) -> None:
    parts = {(name, number): store.partition(number, name) for name in "xy" for number in (0, 1)}
    every = []
    for offset, (name, number, due_ms) in enumerate(made):
        own = b"%d" % offset
        parts[name, number][own] = Row(offset, due_ms, b"v%d" % offset)
        every.append(Pending(name, number, offset, own, due_ms, b"v%d" % offset))
    store.writer.commit(parts.values(), {}, {})
    wanted = [
        it
        for it in sorted(every, key=lambda it: (it[4], it[2]))
        if schedule_id in (None, it[3])
        and topic in (None, it[0])
        and (before_ms is None or it[4] < before_ms)
    ]
    chosen = Filter(schedule_id, topic, before_ms)
    assert list(store.reader.pending(chosen, limit)) == wanted[:limit]
    assert store.reader.count(chosen) == len(wanted)


def test_rows_come_back_byte_for_byte(store: Store) -> None:
    rows = store.partition()
    wanted = {
        b"%d" % number: Row(number, due_ms, bytes(range(256)), HEADERS, bool(number % 2))
        for number, due_ms in enumerate(EXTREMES)
    } | {b"": Row(2**62, 5, b""), b"\xff\x00": Row(8, 5, b"\x00")}
    for schedule_id, row in wanted.items():
        rows[schedule_id] = row
    store.commit(rows)
    assert rows.changed == rows.sealed == {}
    assert {i: rows.get(i) for i in wanted} == wanted
    found = store.reader.due(rows.number, BEFORE_ALL, 2**63 - 1, 99)
    found += store.reader.overtaken(rows.number, 99)
    in_order = sorted(map(plain, found), key=lambda it: (it[3], it[2]))
    assert in_order == expected(rows.number, wanted)


def test_an_update_replaces_all_of_a_row(store: Store) -> None:
    rows = store.partition()
    for row in (Row(1, 2, b"3", HEADERS, True), Row(2, 9, b"4", (("a", b""),)), Row(3, 0, b"")):
        rows[b"a"] = row
        store.commit(rows)
        assert rows.get(b"a") == row


def test_what_must_be_republished_is_found_in_order(store: Store) -> None:
    rows = store.partition()
    for offset in (9, 3, 6):
        rows[b"%d" % offset] = Row(offset, 0, b"v", republish=True)
    store.commit(rows)
    assert [it.offset for it in store.reader.overtaken(rows.number, 2)] == [3, 6]


@pytest.mark.parametrize("headers", [(), HEADERS, (("a", b""),)])
def test_headers_come_back(headers: tuple[Header, ...]) -> None:
    assert unpack_headers(pack_headers(headers)) == headers


def test_rows_and_checkpoint_are_committed_together_or_not_at_all(store: Store) -> None:
    rows = store.partition()
    rows[b"kept"] = Row(0, 0, b"v")
    store.commit(rows, 1)
    rows[b"new"] = Row(1, 0, b"v")
    del rows[b"kept"]
    bad: dict[int, Any] = {rows.number: None}
    for next_offsets, seen_ms in ((bad, {}), ({rows.number: 2}, bad)):
        with pytest.raises(CacheError, match=r"cache\.sqlite"):
            store.writer.commit([rows], next_offsets, seen_ms)
        assert store.ids() == [b"kept"]
        (known, _) = store.reader.checkpoints()[0]
        assert known.next_offset == 1
    assert store.commit(rows, 2) == Folded({b"new": 1, b"kept": None}, (0, 1))
    assert store.ids() == [b"new"]


def test_a_checkpoint_says_how_far_and_how_long_ago(store: Store) -> None:
    assert store.writer.checkpoint("schedules", 3) is None
    before_ms = time.time_ns() // 1_000_000
    known = store.writer.restart("schedules", 3, TOPIC, "cluster", 17)
    assert known[1:6] == ("schedules", 3, TOPIC, "cluster", 17)
    other = store.writer.restart("schedules", 4, TOPIC, "cluster", 0)
    store.writer.commit([], {known.number: 20}, {})
    found = store.writer.checkpoint("schedules", 3)
    assert found == known._replace(next_offset=20)
    store.writer.commit([], {}, {known.number: 5})
    found = store.writer.checkpoint("schedules", 3)
    assert found == known._replace(next_offset=20, seen_ms=5)
    after_ms = time.time_ns() // 1_000_000
    ((_, written_ms), (last, other_written_ms)) = store.reader.checkpoints()
    assert last == other
    assert before_ms <= known.seen_ms <= other_written_ms <= written_ms <= after_ms


def test_starting_a_partition_again_forgets_its_rows_only(store: Store) -> None:
    first, second = store.partition(0), store.partition(1)
    first[b"first"] = second[b"second"] = Row(0, 0, b"v")
    store.writer.commit([first, second], {first.number: 9, second.number: 9}, {})
    again = store.writer.restart("schedules", 0, "new id", "new cluster", 4)
    assert again[:6] == (first.number, "schedules", 0, "new id", "new cluster", 4)
    assert store.ids() == [b"second"]
    assert first.get(b"first") is None
    kept = store.writer.checkpoint("schedules", 1)
    assert kept is not None
    assert (kept.number, kept.next_offset) == (second.number, 9)


def test_a_reader_sees_commits_only_and_a_snapshot_one_of_them(store: Store) -> None:
    rows = store.partition()
    rows[b"a"] = Row(0, 0, b"v")
    assert rows.get(b"a") is not None
    assert store.ids() == []
    store.commit(rows)
    with store.reader.snapshot():
        assert store.ids() == [b"a"]
        rows[b"b"] = Row(1, 1, b"v")
        store.commit(rows)
        assert store.reader.count(Filter()) == len(store.ids()) == 1
    assert store.ids() == [b"a", b"b"]


def test_the_next_process_finds_everything(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with (
        closing(CacheFile(path)) as file,
        closing(Writer(file)) as writer,
        closing(Reader(path)) as reader,
    ):
        store = Store(path, writer, reader)
        rows = store.partition()
        rows[b"a"] = Row(3, 7, b"v", HEADERS, republish=True)
        store.commit(rows, 4)
    with closing(Reader(path)) as reader:
        assert list(map(plain, reader.overtaken(rows.number, 9))) == [
            (rows.number, b"a", 3, 7, b"v", HEADERS, True)
        ]
        assert reader.checkpoints()[0][0].next_offset == 4


def failure(due: Due, attempt: int = 1, next_ms: int = 50, since_ms: int = 5) -> Failure:
    return Failure(due, attempt, since_ms, next_ms, "too-large", "it is too large")


def test_what_failed_is_found_again_when_its_time_has_come(store: Store) -> None:
    rows = store.partition()
    for number in range(4):
        rows[b"%d" % number] = Row(number, number, b"v")
    store.commit(rows)
    found = store.reader.due(rows.number, BEFORE_ALL, 9, 9)
    store.writer.note([failure(found[0], next_ms=70), failure(found[2], 3)])
    assert [it.id for it in store.reader.due(rows.number, BEFORE_ALL, 9, 9)] == [b"1", b"3"]
    assert store.reader.next_again_ms(rows.number) == 50
    assert store.reader.again(rows.number, 49, 9)[0] == []
    (again,) = store.reader.again(rows.number, 50, 9)[0]
    assert (plain(again)[:5], again.tried) == (plain(found[2])[:5], (3, 5, "too-large"))
    assert [it.id for it in store.reader.again(rows.number, 99, 9)[0]] == [b"2", b"0"]
    assert [it.id for it in store.reader.again(rows.number, 99, 1)[0]] == [b"2"]
    assert store.ids() == [b"0", b"1", b"2", b"3"]
    assert store.ids(Filter(failed=True)) == [b"0", b"2"]
    assert store.reader.count(Filter(failed=True)) == 2
    assert store.reader.counts() == {("schedules", 0): 4}
    (shown,) = store.reader.pending(Filter(b"2"))
    assert shown.failed == (3, 5, 50, "too-large", "it is too large")


@pytest.mark.parametrize("row", [None, Row(9, 0, b"newer"), Row(0, 0, b"v", republish=True)])
def test_a_newer_record_ends_what_failed(store: Store, row: Row | None) -> None:
    rows = store.partition()
    rows[b"a"] = Row(0, 0, b"v")
    store.commit(rows)
    (due,) = store.reader.due(rows.number, BEFORE_ALL, 9, 9)
    store.writer.note([failure(due)])
    if row is None:
        del rows[b"a"]
    else:
        rows[b"a"] = row
    store.commit(rows)
    assert store.reader.next_again_ms(rows.number) is None
    assert store.ids(Filter(failed=True)) == []
    store.writer.note([failure(due)])  # of the version before: it comes too late
    noted = store.reader.next_again_ms(rows.number) is not None
    assert noted == (row is not None and row.offset == due.offset)


def test_an_overtaken_row_that_failed_is_still_to_be_written_again(store: Store) -> None:
    rows = store.partition()
    rows[b"a"] = Row(3, 900, b"v", republish=True)
    store.commit(rows)
    (due,) = store.reader.overtaken(rows.number, 9)
    store.writer.note([failure(due)])
    assert store.reader.overtaken(rows.number, 9) == []
    (again,) = store.reader.again(rows.number, 99, 9)[0]
    assert again.republish
    assert rows.get(b"a") == Row(3, 900, b"v", republish=True)


def test_a_start_and_a_retry_make_all_due_at_once(store: Store, tmp_path: Path) -> None:
    parts = [store.partition(0, topic) for topic in "xy"]
    for part in parts:
        for schedule_id in (b"a", b"b"):
            part[schedule_id] = Row(0, 0, b"v")
        store.commit(part)
        for due in store.reader.due(part.number, BEFORE_ALL, 9, 9):
            store.writer.note([failure(due)])
    assert not store.writer.was_changed()
    assert retry_at_once(store.path, b"a", "x") == 1
    assert store.writer.was_changed()
    assert not store.writer.was_changed()
    assert [it.id for it in store.reader.again(parts[0].number, 0, 9)[0]] == [b"a"]
    assert store.reader.again(parts[1].number, 0, 9)[0] == []
    assert retry_at_once(store.path, None, None) == 4
    store.writer.note([failure(due) for due in store.reader.again(parts[1].number, 0, 9)[0]])
    assert store.reader.next_again_ms(parts[1].number) == 50
    with pytest.raises(CacheError, match="There is no cache"):
        retry_at_once(tmp_path / "none.sqlite", None, None)
