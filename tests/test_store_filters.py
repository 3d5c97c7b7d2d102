"""What SQLite cuts out of a value as its target topic is what the format reads there."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from hypothesis import example, given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.formats import AVRO
from kms.schedule import Record, Schedule
from kms.store import filters

TIMES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**42),
    st.sampled_from([2**34 - 1, 2**34, 2**41 - 1, 2**41]),
)


def target_of(_number: int, value: bytes, _headers: str | None) -> bytes | None:
    try:
        return AVRO.decode(Record(0, b"", value)).topic.encode()
    except FormatError:
        return None


def cut_out(due_ms: int, value: bytes) -> bytes | None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("target_of", 3, target_of, deterministic=True)
        connection.execute("CREATE TABLE schedules (number, due_ms INTEGER, value BLOB, headers)")
        connection.execute("INSERT INTO schedules VALUES (1, ?, ?, NULL)", (due_ms, value))
        group = filters.group("topic", avro=[1])
        found = connection.execute(f"SELECT {group} FROM schedules s").fetchone()
    topic: bytes | None = found[0]
    return topic


@given(TIMES, st.text(max_size=80), st.binary(max_size=9))
@example(2**40, "", b"")
@example(2**40, "t" * 63, b"")
@example(2**40, "t" * 64, b"")
@example(2**40, "ü" * 32, b"")
@example(2**40, "\0a", b"")
def test_of_a_schedule(due_ms: int, topic: str, key: bytes) -> None:
    value = AVRO.encode_value(Schedule(due_ms, topic, key, None))
    assert cut_out(due_ms, value) == topic.encode()


@given(st.sampled_from([5, 6, 7]), st.text(max_size=20))
def test_of_numbers_that_are_longer_than_they_need_be(size: int, topic: str) -> None:
    """As no client writes them, but all read them."""
    due_ms = 2**34 if size > 5 else 2**33
    value = AVRO.encode_value(Schedule(due_ms, topic, b"", None))
    time_bytes = 6 if size > 5 else 5
    padded = value[: time_bytes - 1] + bytes([value[time_bytes - 1] | 0x80, 0x00])
    value = padded + value[time_bytes:]
    assert AVRO.decode_value(value) == Schedule(due_ms, topic, b"", None)
    assert cut_out(due_ms, value) == topic.encode()


@given(st.binary(max_size=40))
def test_of_no_schedule(value: bytes) -> None:
    if target_of(1, value, None) is None:
        assert cut_out(0, value) is None
