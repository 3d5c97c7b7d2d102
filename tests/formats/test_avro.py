"""Avro: the bytes are those of an independent encoder, and other bytes say why they are none."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import avro.io
import avro.schema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.formats import AVRO, SCHEMA, schema_json
from kms.schedule import Record, Schedule

LONGS = st.integers(-(2**63), 2**63 - 1)
SCHEDULES = st.builds(
    Schedule,
    LONGS,
    st.text(),
    st.binary(),
    st.none() | st.binary(),
    st.dictionaries(st.text(), st.binary(), max_size=4).map(lambda found: tuple(found.items())),
)
EXAMPLES = [
    Schedule(2**63 - 1, "t", b"k", None, (("ключ 🗝", b"\x00\xff"), ("", b""))),
    Schedule(-(2**63), "", b"", b""),
    Schedule(0, "ä", b"\xff", b"v" * 70_000),
    Schedule(253_402_300_799_999, "year-9999", b"k", b"v"),
]
# sky-uk/kafka-message-scheduler, kafka/avro/AvroSchedule.scala: case class AvroSchedule(time:
# Long, topic: String, key: Array[Byte], value: Option[Array[Byte]], headers: Map[String, ...]).
SKY_UKS = [
    ("time", "long"),
    ("topic", "string"),
    ("key", "bytes"),
    ("value", ["null", "bytes"]),
    ("headers", {"type": "map", "values": "bytes"}),
]
OLDER = json.dumps({**SCHEMA, "fields": SCHEMA["fields"][:-1]})


def independently(schedule: Schedule, schema: str = "") -> bytes:
    """The bytes of the avro package."""
    found: dict[str, Any] = {
        "time": schedule.due_ms,
        "topic": schedule.topic,
        "key": schedule.key,
        "value": schedule.value,
    }
    if not schema:
        found["headers"] = dict(schedule.headers)
    out = BytesIO()
    writer = avro.io.DatumWriter(avro.schema.parse(schema or schema_json()))
    writer.write(found, avro.io.BinaryEncoder(out))
    return out.getvalue()


@given(SCHEDULES)
@example(EXAMPLES[0])
@example(EXAMPLES[1])
@example(EXAMPLES[2])
@example(EXAMPLES[3])
def test_the_bytes_are_those_of_an_independent_encoder_both_ways(schedule: Schedule) -> None:
    data = independently(schedule)
    assert AVRO.encode_value(schedule) == data
    assert AVRO.decode_value(data) == schedule
    assert AVRO.due_of(Record(0, b"", data)) == schedule.due_ms
    reader = avro.io.DatumReader(avro.schema.parse(schema_json()))
    found = reader.read(avro.io.BinaryDecoder(BytesIO(AVRO.encode_value(schedule))))
    assert found == {
        "time": schedule.due_ms,
        "topic": schedule.topic,
        "key": schedule.key,
        "value": schedule.value,
        "headers": dict(schedule.headers),
    }


@given(SCHEDULES.map(lambda schedule: schedule._replace(headers=())))
def test_the_older_form_without_headers_is_read(schedule: Schedule) -> None:
    data = independently(schedule, OLDER)
    assert data == independently(schedule)[:-1]
    assert AVRO.decode_value(data) == schedule
    assert AVRO.due_of(Record(0, b"", data)) == schedule.due_ms


def test_the_bytes_by_hand() -> None:
    schedule = Schedule(100_000, "out", b"\x01", None, (("h", b"v"),))
    data = bytes.fromhex("c09a0c 066f7574 0201 00 020268027600")
    assert AVRO.encode_value(schedule) == data
    assert AVRO.decode_value(data) == schedule
    # Kafka Streams and Java write a map's blocks with their size in bytes as well.
    sized = bytes.fromhex("c09a0c 066f7574 0201 00 01080268027600")
    assert AVRO.decode_value(sized) == schedule


@given(SCHEDULES, st.data())
def test_a_truncated_value_is_refused_or_the_older_form(
    schedule: Schedule, data: st.DataObject
) -> None:
    whole = AVRO.encode_value(schedule)
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    older = independently(schedule, OLDER)
    if short == older:
        assert AVRO.decode_value(short) == schedule._replace(headers=())
    else:
        assert_refused_by_both(short)


@given(SCHEDULES, st.binary(min_size=1))
def test_trailing_bytes_are_refused(schedule: Schedule, more: bytes) -> None:
    assert_refused_by_both(AVRO.encode_value(schedule) + more)


@given(st.binary(max_size=64))
@example(b"")
@example(b"foobar")
@example(b'{"time": 1, "topic": "t", "key": "", "value": null}')
@example(b"\x00\x00\x00\x00\x01" + AVRO.encode_value(EXAMPLES[3]))  # a registry's prefix
@example(b"\x02\x02\xff\x00\x00\x00")  # a topic that is no UTF-8
@example(b"\x02\x01\x00\x00\x00")  # a topic of -1 bytes
@example(b"\x02\x02t\x00\x04\x00")  # the third of two kinds of value
@example(b"\x02\x02t" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"k\x00\x00")  # a huge key
@example(b"\xff" * 40)
@example(b"\x80" * 40)
def test_any_bytes_are_refused_or_mean_one_schedule(data: bytes) -> None:
    try:
        schedule = AVRO.decode_value(data)
    except FormatError:
        assert_refused_by_both(data)
    else:
        assert AVRO.decode_value(AVRO.encode_value(schedule)) == schedule
        assert AVRO.due_of(Record(0, b"", data)) == schedule.due_ms


@given(SCHEDULES, st.data())
def test_a_damaged_byte_is_refused_or_means_one_schedule(
    schedule: Schedule, data: st.DataObject
) -> None:
    damaged = bytearray(AVRO.encode_value(schedule))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = AVRO.decode_value(bytes(damaged))
    except FormatError:
        assert_refused_by_both(bytes(damaged))
    else:
        assert AVRO.decode_value(AVRO.encode_value(found)) == found


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(2**63, "t", b"", None),
        Schedule(-(2**63) - 1, "t", b"", None),
        Schedule(10**30, "t", b"", None),
        Schedule(0, "\ud800", b"", None),
        Schedule(0, "t", b"", None, (("h", None),)),
        Schedule(0, "t", b"", None, (("\ud800", b""),)),
        Schedule(0, "t", b"", None, (("h", b"1"), ("h", b"2"))),
    ],
    ids=["late", "early", "huge", "topic", "null header", "header's name", "name twice"],
)
def test_what_avro_cant_hold_is_refused_rather_than_changed(schedule: Schedule) -> None:
    with pytest.raises(FormatError, match=r"Avro"):
        AVRO.encode_value(schedule)


def test_the_schema_file_is_sky_uks_schema() -> None:
    text = schema_json()
    assert text.endswith("}\n")
    parsed = avro.schema.parse(text)
    assert parsed.type == "record"
    assert parsed.to_json() == json.loads(text)
    assert [(it["name"], it["type"]) for it in json.loads(text)["fields"]] == SKY_UKS
    assert all(it["doc"] for it in json.loads(text)["fields"])


def assert_refused_by_both(data: bytes) -> None:
    """``due_of`` refuses whatever ``decode`` refuses, and both say why."""
    with pytest.raises(FormatError, match=r"Avro schedule") as refused:
        AVRO.decode_value(data)
    with pytest.raises(FormatError) as refused_due:
        AVRO.due_of(Record(0, b"", data))
    assert str(refused_due.value) == str(refused.value)
