"""What a schedule is, and the fold that makes a partition's state out of its records.

Plain values, no I/O: the property tests drive exactly what the service runs.
The rules are those of the design, section 2.

A schedule that recurs is written again when it fires, where another one gets its tombstone. That
record names the version it follows in the same headers as a tombstone would, and counts as that
version's tombstone and a new version in one: it takes the place of what it follows, and of older
ones, and of nothing. What a user wrote in between is newer than what was fired: that stays, and
is written again, for compaction would keep the other record. (An exactly-once transaction is
aborted before that can happen, and only it knows of a cancel in between: a record that follows a
version which is not there any more can't be told from one whose forerunner was compacted.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from kms.errors import FormatError

EXPIRED_HEADER = "schedule:expired"
FIRED_OFFSET_HEADER = "kms-fired-offset"
FIRED_TOPIC_HEADER = "kms-fired-topic"
# In the place of a record's headers where the client can't read them: all, for the sake of one.
UNREADABLE_HEADER = "kms-unreadable-headers"

_AT_ONCE_MS = 0
_NO_ID = b"kms-no-id-"
_MOST_DIGITS = 19  # of an offset; int() refuses thousands of them

Header = tuple[str, bytes | None]


class Schedule(NamedTuple):
    """At ``due_ms`` (epoch milliseconds, UTC) send ``key``, ``value``, ``headers`` to ``topic``.

    ``key`` None is a message without one. ``value`` None is a message with a null value: a
    tombstone on the target topic.
    """

    due_ms: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Written(Protocol):
    """A record of a schedule topic as formats see it: from the topic, or kept since.

    ``written_ms`` is its timestamp in epoch ms, 0 where that is not known.
    """

    @property
    def id(self) -> bytes: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[Header]: ...
    @property
    def written_ms(self) -> int: ...


class Record(NamedTuple):
    """One record of a schedule topic; ``value`` None is a tombstone.

    ``id`` is its key; of a record without one ``stand_in_id``.
    """

    offset: int
    id: bytes
    value: bytes | None
    headers: Sequence[Header] = ()
    written_ms: int = 0


class Row(NamedTuple):
    """What the fold keeps of a pending schedule: the newest record under its id, whole.

    ``republish`` is set when the schedule's older version was fired after this one was written:
    compaction would keep that firing's tombstone and erase this record.
    """

    offset: int
    due_ms: int
    value: bytes
    headers: tuple[Header, ...] = ()
    republish: bool = False
    written_ms: int = 0


class Rows(Protocol):
    """The state of one partition, by schedule id: a dict, or the store's view of its table."""

    def get(self, schedule_id: bytes, /) -> Row | None: ...
    def __setitem__(self, schedule_id: bytes, row: Row, /) -> None: ...
    def __delitem__(self, schedule_id: bytes, /) -> None: ...


class Change(Enum):
    """What folding one record did."""

    SCHEDULED = "scheduled"  # new, or an update of what was pending
    UNREADABLE = "unreadable"  # no schedule; due at once, to be found out where all failures are
    CANCELLED = "cancelled"  # a plain null took a pending schedule away
    FIRED = "fired"  # the tombstone of a firing took it away
    RECURRED = "recurred"  # fired, and pending again for its next time
    OVERTAKEN = "overtaken"  # fired, but a newer version is pending and must be re-published
    NOTHING = "nothing"  # a tombstone for what was not there


class Fired(NamedTuple):
    """Which version a firing's tombstone, or next record, speaks of: its offset and topic id."""

    offset: int
    topic_id: str


def fold(rows: Rows, record: Record, topic_id: str, due_of: Callable[[Record], int]) -> Change:
    """Apply one record to the rows of its partition; the records come in order of offset.

    ``topic_id`` is the id of the topic the record was read from, ``due_of`` takes the due time
    (epoch ms) out of a record, or raises FormatError. What it refuses is kept as due at once: the
    newest record under an id is its truth, and firing ends it like any that can't be fired.
    """
    if record.value is None:
        return _fold_tombstone(rows, record, topic_id)
    change = Change.SCHEDULED
    followed = fired_of(record.headers) if record.headers else None
    if followed is not None and followed.topic_id == topic_id:
        row, change = rows.get(record.id), Change.RECURRED
        # Both after the same version: somebody wrote the record once more, as it is.
        if row is not None and row.offset > followed.offset and fired_of(row.headers) != followed:
            rows[record.id] = row._replace(republish=True)
            return Change.OVERTAKEN
    try:
        due_ms = due_of(record)
    except FormatError:
        due_ms, change = _AT_ONCE_MS, Change.UNREADABLE
    headers = tuple(record.headers)
    rows[record.id] = Row(record.offset, due_ms, record.value, headers, False, record.written_ms)
    return change


def stand_in_id(offset: int) -> bytes:
    """The id of a record without a key, so that it has one to be found and ended under."""
    return _NO_ID + b"%d" % offset


def is_stand_in(schedule_id: bytes, offset: int) -> bool:
    """Whether the record at this offset has no key."""
    return schedule_id.startswith(_NO_ID) and schedule_id == stand_in_id(offset)


def fired_headers(offset: int, topic_id: str) -> list[Header]:
    """The headers of the tombstone written after firing the record at ``offset``.

    ``schedule:expired`` is what sky-uk's scheduler writes, so its consumers keep working.
    """
    return [(EXPIRED_HEADER, b"true"), *following_headers(offset, topic_id)]


def following_headers(offset: int, topic_id: str) -> list[Header]:
    """What a record says that follows the firing of the one at ``offset``."""
    return [
        (FIRED_OFFSET_HEADER, b"%d" % offset),
        (FIRED_TOPIC_HEADER, topic_id.encode()),
    ]


def without_following(headers: Sequence[Header]) -> list[Header]:
    """A copy's headers: it follows nothing, and takes the place of whatever there is."""
    return [it for it in headers if it[0] not in (FIRED_OFFSET_HEADER, FIRED_TOPIC_HEADER)]


def fired_of(headers: Sequence[Header]) -> Fired | None:
    """Which version a record says was fired, or None for a plain one.

    Headers that can't be read make it a plain one: a null value always means "no longer wanted".
    """
    found = dict(headers)
    offset, topic_id = found.get(FIRED_OFFSET_HEADER), found.get(FIRED_TOPIC_HEADER)
    if offset is None or topic_id is None or not offset.isdigit() or len(offset) > _MOST_DIGITS:
        return None
    return Fired(int(offset), topic_id.decode(errors="replace"))


def _fold_tombstone(rows: Rows, record: Record, topic_id: str) -> Change:
    row = rows.get(record.id)
    if row is None:
        return Change.NOTHING
    fired = fired_of(record.headers)
    # Another topic's id: the records were copied here, and offsets there mean nothing here.
    if fired is not None and fired.topic_id == topic_id:
        if row.offset > fired.offset:
            rows[record.id] = row._replace(republish=True)
            return Change.OVERTAKEN
        del rows[record.id]
        return Change.FIRED
    del rows[record.id]
    expired = any(name == EXPIRED_HEADER for name, _ in record.headers)
    return Change.FIRED if expired else Change.CANCELLED
