"""The fold: its table row by row, and what it promises of any log, compacted or not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.schedule import (
    EXPIRED_HEADER,
    FIRED_OFFSET_HEADER,
    FIRED_TOPIC_HEADER,
    Change,
    Fired,
    Header,
    Record,
    Row,
    Rows,
    fired_headers,
    fired_of,
    fold,
    following_headers,
    without_following,
)

TOPIC, OTHER = "this-topic's-id", "another-topic's-id"
ID = b"id"
PENDING = Row(5, 100, b"100", (("a", b"b"),))


def due_of(record: Record) -> int:
    try:
        return int(record.value or b"")
    except ValueError as error:
        raise FormatError("no number") from error


def fold_all(rows: Rows, records: Iterable[Record]) -> None:
    """Fold these records, rejected ones included."""
    for record in records:
        try:
            fold(rows, record, TOPIC, due_of)
        except FormatError:
            assert rows.get(record.id) is None


def folded(records: Iterable[Record], start: dict[bytes, Row] | None = None) -> dict[bytes, Row]:
    """The rows after these records."""
    rows = dict(start or {})
    fold_all(rows, records)
    return rows


def written(offset: int, schedule_id: bytes = ID, due_ms: int = 7) -> Record:
    return Record(offset, schedule_id, b"%d" % due_ms)


def fired(offset: int, fired_offset: int, topic_id: str = TOPIC, schedule_id: bytes = ID) -> Record:
    return Record(offset, schedule_id, None, fired_headers(fired_offset, topic_id))


def followed(
    offset: int,
    fired_offset: int,
    topic_id: str = TOPIC,
    schedule_id: bytes = ID,
    due_ms: int = 7,
) -> Record:
    """What recurs, written again by the firing of what lies at ``fired_offset``."""
    headers = tuple(following_headers(fired_offset, topic_id))
    return Record(offset, schedule_id, b"%d" % due_ms, headers)


def row_of(record: Record) -> Row:
    return Row(record.offset, int(record.value or b""), record.value or b"", tuple(record.headers))


def cancelled(offset: int, *headers: Header) -> Record:
    return Record(offset, ID, None, headers)


# The design's table, section 2: before, record, after, what it is called.
TABLE = {
    "new": (None, Record(6, ID, b"9", [("h", None)]), Row(6, 9, b"9", (("h", None),)), "scheduled"),
    "update": (PENDING, written(6), Row(6, 7, b"7"), "scheduled"),
    "update of what must be re-published": (
        PENDING._replace(republish=True),
        written(6),
        Row(6, 7, b"7"),
        "scheduled",
    ),
    "plain null": (PENDING, cancelled(6), None, "cancelled"),
    "plain null, nothing there": (None, cancelled(6), None, "nothing"),
    "plain null for what must be re-published": (
        PENDING._replace(republish=True),
        cancelled(6),
        None,
        "cancelled",
    ),
    "another scheduler's": (PENDING, cancelled(6, (EXPIRED_HEADER, b"true")), None, "fired"),
    "fired": (PENDING, fired(6, 5), None, "fired"),
    "fired later than this version": (PENDING, fired(9, 8), None, "fired"),
    "fired, nothing there": (None, fired(6, 5), None, "nothing"),
    "overtaken": (PENDING, fired(6, 4), PENDING._replace(republish=True), "overtaken"),
    "another topic's id": (PENDING, fired(6, 4, OTHER), None, "fired"),
    "another topic's id, newer": (PENDING, fired(9, 8, OTHER), None, "fired"),
    "what recurs": (PENDING, followed(6, 5), row_of(followed(6, 5)), "recurred"),
    "what recurs, later than this version": (
        PENDING,
        followed(9, 8),
        row_of(followed(9, 8)),
        "recurred",
    ),
    "what recurs, nothing there": (None, followed(6, 5), row_of(followed(6, 5)), "recurred"),
    "what recurs, overtaken": (
        PENDING,
        followed(6, 4),
        PENDING._replace(republish=True),
        "overtaken",
    ),
    "what recurs, written once more by hand": (
        row_of(followed(6, 4)),
        followed(7, 4),
        row_of(followed(7, 4)),
        "recurred",
    ),
    "what recurs, copied from elsewhere": (
        PENDING,
        followed(6, 4, OTHER),
        row_of(followed(6, 4, OTHER)),
        "scheduled",
    ),
    "fired after it recurred": (row_of(followed(6, 4)), fired(7, 6), None, "fired"),
    "its forerunner was fired elsewhere": (
        row_of(followed(6, 4)),
        fired(7, 4),
        row_of(followed(6, 4))._replace(republish=True),
        "overtaken",
    ),
    "an offset without a topic": (
        PENDING,
        cancelled(6, (FIRED_OFFSET_HEADER, b"4")),
        None,
        "cancelled",
    ),
}


@pytest.mark.parametrize(("before", "record", "after", "change"), TABLE.values(), ids=list(TABLE))
def test_the_table_of_the_design(
    before: Row | None, record: Record, after: Row | None, change: str
) -> None:
    bystander = Row(3, 1, b"1", republish=True)
    rows = {b"other": bystander} | ({ID: before} if before else {})
    assert fold(rows, record, TOPIC, due_of) is Change(change)
    assert rows == {b"other": bystander} | ({ID: after} if after else {})


@pytest.mark.parametrize("before", [None, PENDING])
def test_a_value_that_does_not_decode_is_due_at_once(before: Row | None) -> None:
    """Its id's newest record is its truth; what becomes of it is decided where it fires."""
    rows = {ID: before} if before else {}
    headers = [("h", b"v")]
    found = fold(rows, Record(6, ID, b"no number", headers), TOPIC, due_of)
    assert found is Change.UNREADABLE
    assert rows == {ID: Row(6, 0, b"no number", (("h", b"v"),))}
    assert fold(rows, cancelled(7, *fired_headers(6, TOPIC)), TOPIC, due_of) is Change.FIRED
    assert rows == {}


@pytest.mark.parametrize("schedule_id", [b"", b"\xff\x00", "é".encode()])
def test_any_bytes_are_an_id_and_an_empty_value_is_no_tombstone(schedule_id: bytes) -> None:
    assert folded([written(1, schedule_id)]) == {schedule_id: Row(1, 7, b"7")}
    rows: dict[bytes, Row] = {}
    assert fold(rows, Record(1, schedule_id, b""), TOPIC, due_of) is Change.UNREADABLE
    assert rows == {schedule_id: Row(1, 0, b"")}


def test_a_firings_tombstone_says_which_version_and_what_sky_uks_consumers_expect() -> None:
    headers = fired_headers(12, TOPIC)
    assert headers[0] == ("schedule:expired", b"true")
    assert headers[1:] == [("kms-fired-offset", b"12"), ("kms-fired-topic", TOPIC.encode())]
    assert fired_of(headers) == Fired(12, TOPIC)


NAMES = st.sampled_from([EXPIRED_HEADER, FIRED_OFFSET_HEADER, FIRED_TOPIC_HEADER]) | st.text()
VALUES = st.none() | st.binary(max_size=8) | st.sampled_from([b"4", b"5", b"-5", TOPIC.encode()])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
@example([(FIRED_OFFSET_HEADER, b"1" * 5_000), (FIRED_TOPIC_HEADER, TOPIC.encode())])
@example([(FIRED_OFFSET_HEADER, "²".encode()), (FIRED_TOPIC_HEADER, TOPIC.encode())])
@example([(FIRED_OFFSET_HEADER, b"+4"), (FIRED_TOPIC_HEADER, TOPIC.encode())])
@example([(FIRED_OFFSET_HEADER, b""), (FIRED_TOPIC_HEADER, TOPIC.encode())])
@example([(FIRED_OFFSET_HEADER, b"4"), (FIRED_TOPIC_HEADER, b"\xff")])
@example([(FIRED_OFFSET_HEADER, None), (FIRED_TOPIC_HEADER, None)])
@example([(FIRED_OFFSET_HEADER, b"00"), (FIRED_TOPIC_HEADER, TOPIC.encode())])
def test_headers_that_cant_be_read_make_a_plain_null(headers: list[Header]) -> None:
    found = dict(headers)
    older = {b"%d" % offset for offset in range(PENDING.offset)}  # versions of before
    overtaken = (
        (found.get(FIRED_OFFSET_HEADER) or b"").lstrip(b"0") in {it.lstrip(b"0") for it in older}
        and bool(found.get(FIRED_OFFSET_HEADER))
        and found.get(FIRED_TOPIC_HEADER) == TOPIC.encode()
    )
    after = folded([cancelled(6, *headers)], {ID: PENDING})
    assert after == ({ID: PENDING._replace(republish=True)} if overtaken else {})


# ---- properties of whole logs ----


KINDS = ["write", "write", "fire", "fire", "recur", "recur", "foreign", "null", "bad"]


@st.composite
def logs(draw: st.DrawFn, *, overtaken: bool = True) -> list[Record]:
    """Any log: of few ids, with gaps (transaction markers), with firings of anything before.

    With ``overtaken`` also what recurs follows anything, as it may with KMS_DELIVERY=at-least-once;
    else the record before it under its id, which the transaction sees to.
    """
    records: list[Record] = []
    offset = 0
    for _ in range(draw(st.integers(0, 20))):
        offset += draw(st.integers(1, 3))
        schedule_id = draw(st.sampled_from([b"a", b"b", b"c"]))
        match draw(st.sampled_from(KINDS)):
            case "write":
                record = written(offset, schedule_id, draw(st.integers(0, 9)))
                records.append(record._replace(headers=(("at", b"%d" % offset),)))
            case "fire":
                records.append(fired(offset, draw(st.integers(0, offset)), TOPIC, schedule_id))
            case "recur":
                own = [it.offset for it in records if it.id == schedule_id]
                fired_offset = max(own, default=0)
                if overtaken:
                    fired_offset = draw(st.integers(0, offset))
                due_ms = draw(st.integers(0, 9))
                records.append(followed(offset, fired_offset, TOPIC, schedule_id, due_ms))
            case "foreign":
                records.append(fired(offset, draw(st.integers(0, 99)), OTHER, schedule_id))
            case kind:
                records.append(Record(offset, schedule_id, None if kind == "null" else b"bad"))
    return records


@given(logs(), st.data())
def test_resuming_anywhere_gives_the_same_rows(log: list[Record], data: st.DataObject) -> None:
    split = data.draw(st.integers(0, len(log)))
    assert folded(log[split:], folded(log[:split])) == folded(log)


@given(logs(), st.integers(0, 60))
def test_a_firing_never_removes_a_newer_row(log: list[Record], fired_offset: int) -> None:
    for schedule_id, row in (rows := folded(log)).items():
        after = folded([fired(99, fired_offset, TOPIC, schedule_id)], rows)
        newer = row.offset > fired_offset
        kept = {schedule_id: row._replace(republish=True)} if newer else {}
        assert after == {other: rows[other] for other in rows if other != schedule_id} | kept


@given(logs(overtaken=False), st.data())
def test_a_log_as_kafka_compacts_it_loses_only_what_must_be_republished(
    log: list[Record], data: st.DataObject
) -> None:
    # The cleaner keeps, of each id, the newest record before the point it has got to and all
    # after that: always the last ones. Of an id that ends in a tombstone it may drop all.
    kept: list[Record] = []
    for schedule_id in {record.id for record in log}:
        own = [record for record in log if record.id == schedule_id]
        fewest = 0 if own[-1].value is None else 1
        kept += own[len(own) - data.draw(st.integers(fewest, len(own))) :]
    kept.sort()
    whole, offsets = folded(log), {record.offset for record in kept}
    assert folded(kept) == {i: row for i, row in whole.items() if row.offset in offsets}
    assert all(row.republish for row in whole.values() if row.offset not in offsets)


@given(logs(overtaken=False), st.data())
def test_any_log_that_keeps_the_newest_of_each_id_gives_the_same_rows(
    log: list[Record], data: st.DataObject
) -> None:
    newest = {record.id: record for record in log}
    kept = [record for record in log if record is newest[record.id] or data.draw(st.booleans())]
    # But for ids whose newest record follows a firing that an update had overtaken.
    whole, part = folded(log), folded(kept)
    for schedule_id, last in newest.items():
        firing = fired_of(last.headers)
        updates = [
            it.offset
            for it in log
            if it.id == schedule_id and it.value is not None and it is not last
        ]
        overtook = firing and firing.topic_id == TOPIC and max(updates, default=0) > firing.offset
        if not overtook:
            assert part.get(schedule_id) == whole.get(schedule_id)


@given(logs(), st.integers(0, 60))
def test_what_recurs_never_takes_the_place_of_a_newer_row(log: list[Record], follows: int) -> None:
    """But for the row that follows the same version: that one was written again by hand."""
    for schedule_id, row in (rows := folded(log)).items():
        record = followed(99, follows, TOPIC, schedule_id)
        after = folded([record], rows)
        stays = row.offset > follows and fired_of(row.headers) != Fired(follows, TOPIC)
        expected = row._replace(republish=True) if stays else row_of(record)
        assert after == rows | {schedule_id: expected}


def test_a_copy_of_what_recurs_follows_nothing() -> None:
    """Else it would be overtaken by the very row it is a copy of, for ever."""
    record = followed(6, 5)
    row = folded([record, fired(7, 4)])[ID]
    assert row.republish
    copy = Record(8, ID, row.value, without_following([*row.headers, ("kms-every", b"1h")]))
    assert copy.headers == [("kms-every", b"1h")]
    assert folded([copy], {ID: row}) == {ID: row_of(copy)}


def test_what_was_republished_survives_every_compaction() -> None:
    log = [written(1), written(5), fired(6, 1)]
    assert folded(log) == {ID: Row(5, 7, b"7", republish=True)}
    assert folded(log[2:]) == {}  # this is why it must be written again
    log.append(written(7))
    for count in range(len(log)):
        for older in combinations(log[:-1], count):
            assert folded([*older, log[-1]]) == {ID: Row(7, 7, b"7")}
