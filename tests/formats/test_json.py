"""sky-uk's JSON: as circe writes it, and what its decoder takes."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.formats import Json
from kms.schedule import Record, Schedule

JSON = Json()
INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]))
SCHEDULES = st.builds(
    Schedule,
    INT64,
    NAMES,
    st.binary(),
    st.none() | st.binary(),
    st.dictionaries(NAMES, st.binary()).map(lambda found: tuple(found.items())),
)

# ``JsonSchedule(…).asJson.noSpaces``, as sky-uk's own producers send it.
OF_SKY = (
    b'{"time":1700000000000,"topic":"output-json-topic","key":"anNvbktleQ==",'
    b'"value":"anNvblZhbHVl","headers":{"trace":"AP8="}}'
)


def record(value: bytes) -> Record:
    return Record(7, b"id", value)


def changed(**fields: object) -> bytes:
    """That schedule with other fields; ``...`` leaves one out."""
    found = {**json.loads(OF_SKY), **fields}
    return json.dumps({name: it for name, it in found.items() if it is not ...}).encode()


def test_what_sky_uk_writes() -> None:
    assert JSON.decode(record(OF_SKY)) == Schedule(
        1_700_000_000_000, "output-json-topic", b"jsonKey", b"jsonValue", (("trace", b"\x00\xff"),)
    )
    assert JSON.due_of(record(OF_SKY)) == 1_700_000_000_000
    assert JSON.encode(JSON.decode(record(OF_SKY))).value == OF_SKY


@given(SCHEDULES)
def test_what_is_written_is_read(schedule: Schedule) -> None:
    body = JSON.encode(schedule)
    assert body.headers == ()
    assert JSON.decode(record(body.value)) == schedule
    assert JSON.due_of(record(body.value)) == schedule.due_ms
    plain = json.loads(body.value)
    assert base64.standard_b64decode(plain["key"]) == schedule.key


@pytest.mark.parametrize("nothing", [None, ...])
def test_value_and_headers_may_be_missing(nothing: object) -> None:
    found = JSON.decode(record(changed(value=nothing, headers=nothing)))
    assert (found.value, found.headers) == (None, ())


@pytest.mark.parametrize(
    ("written", "read"),
    [("5", 5), (5.0, 5), (1e3, 1000), (-1, -1), ("-9", -9), ("1e3", 1000), ("5.0", 5)],
)
def test_a_time_may_be_written_in_these_ways(written: object, read: int) -> None:
    assert JSON.due_of(record(changed(time=written))) == read


@pytest.mark.parametrize(("written", "read"), [("QQ", b"A"), ("QQ==", b"A"), ("", b"")])
def test_padding_may_be_missing(written: str, read: bytes) -> None:
    assert JSON.decode(record(changed(value=written))).value == read


def test_no_millisecond_is_lost_to_a_float() -> None:
    data = changed(time=0).replace(b'"time": 0', b'"time": 9007199254740993.0')
    assert JSON.due_of(record(data)) == 9007199254740993


def test_other_fields_are_passed_over() -> None:
    assert JSON.decode(record(changed(more=[1]))) == JSON.decode(record(OF_SKY))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        OF_SKY + b"}",
        b"[" * 100_000,
        b'{"time":' + b"9" * 5_000 + b"}",
        *(changed(time=bad) for bad in (..., None, True, 1.5, "soon", 2**63, -(2**63) - 1)),
        *(changed(time=bad) for bad in ("1_000", " 5 ", "+5", "05", "٣", "1e99", "1e9999999999")),
        *(changed(topic=bad) for bad in (..., None, 5, "\ud800")),
        *(changed().replace(b"1700000000000", b"1e" + b"9" * n) for n in (3, 9, 30)),
        *(changed(key=bad) for bad in (..., None, 5, "QQ=", "Q", "?", "Q Q=", "QQ==QQ==")),
        *(changed(value=bad) for bad in (5, "\n", "Q===")),
        *(changed(headers=bad) for bad in ([1], {"a": None}, {"a": 5}, {"a": "?"}, {"\ud800": ""})),
        changed().replace(b"1700000000000", b"NaN"),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    for read in (JSON.decode, JSON.due_of):
        with pytest.raises(FormatError):
            read(record(data))


@given(st.binary() | st.text().map(str.encode) | st.from_type(dict).map(str).map(str.encode))
def test_anything_is_read_or_refused(data: bytes) -> None:
    with suppress(FormatError):
        JSON.decode(record(data))


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(5, "t", None, b""),
        Schedule(5, "t", b"", b"", (("a", None),)),
        Schedule(5, "t", b"", b"", (("a", b"1"), ("a", b"2"))),
    ],
)
def test_what_can_not_be_written(schedule: Schedule) -> None:
    with pytest.raises(FormatError):
        JSON.encode(schedule)
