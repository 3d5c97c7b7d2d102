"""etf1's form: the headers say what to do, the value is the message."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.formats import Headers
from kms.kinds import CONTROL
from kms.schedule import Header, Record, Schedule

HEADERS_OF = b"scheduler"
HEADERS = Headers(HEADERS_OF.decode())
HOW: tuple[Header, ...] = (
    ("scheduler-epoch", b"1700000000"),
    ("scheduler-target-topic", b"online-videos"),
    ("scheduler-target-key", b"vid1"),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]))


def record(
    *headers: Header, value: bytes = b"video", written_ms: int = 1_699_999_999_999
) -> Record:
    return Record(7, b"vid1-online", value, headers, written_ms)


def without(name: str) -> tuple[Header, ...]:
    return tuple(header for header in HOW if header[0] != name)


def is_the_records(name: str) -> bool:
    """Whether no message can have a header of that name."""
    return name.startswith("scheduler-") or name in CONTROL


def test_what_etf1_fires() -> None:
    """As its ``produceTargetMessage`` does: all headers, and behind them where it comes from."""
    own: Header = ("customHeader", b"whatever")
    found = HEADERS.decode(record(own, *HOW))
    assert found == Schedule(
        1_700_000_000_000,
        "online-videos",
        b"vid1",
        b"video",
        (
            own,
            *HOW,
            ("scheduler-timestamp", b"1699999999"),
            ("scheduler-key", b"vid1-online"),
            ("scheduler-topic", b"scheduler"),
        ),
    )
    assert HEADERS.due_of(record(own, *HOW)) == found.due_ms


def test_an_empty_value_is_a_message() -> None:
    assert HEADERS.decode(record(*HOW, value=b"")).value == b""


def test_the_key_may_be_missing() -> None:
    assert HEADERS.decode(record(*without("scheduler-target-key"))).key is None


def test_the_first_of_a_name_counts() -> None:
    found = HEADERS.decode(record(*HOW, *((name, b"5") for name, _ in HOW)))
    assert (found.due_ms, found.topic, found.key) == (1_700_000_000_000, "online-videos", b"vid1")


TOO_MUCH = (b"9223372036854776", b"-9223372036854776")  # in ms the cache has no room for it


@pytest.mark.parametrize("text", [b"9223372036854775", b"-9223372036854775", b"0" * 20 + b"5"])
def test_a_time_that_the_cache_has_room_for(text: bytes) -> None:
    headers = (*without("scheduler-epoch"), ("scheduler-epoch", text))
    assert HEADERS.due_of(record(*headers)) == int(text) * 1000


@pytest.mark.parametrize(
    "headers",
    [
        (),
        without("scheduler-epoch"),
        without("scheduler-target-topic"),
        (*without("scheduler-target-topic"), ("scheduler-target-topic", b"")),
        (*without("scheduler-target-topic"), ("scheduler-target-topic", None)),
        *(
            (*without("scheduler-epoch"), ("scheduler-epoch", bad))
            for bad in (
                None,
                b"",
                b"soon",
                b"1.5",
                b"1_000",
                b" 5",
                b"9" * 17,
                b"0" * 5_000,
                "٣".encode(),
            )
        ),
        *((*without("scheduler-epoch"), ("scheduler-epoch", bad)) for bad in TOO_MUCH),
        (*without("scheduler-target-topic"), ("scheduler-target-topic", HEADERS_OF)),
    ],
)
def test_what_is_refused(headers: tuple[Header, ...]) -> None:
    for read in (HEADERS.decode, HEADERS.due_of):
        with pytest.raises(FormatError):
            read(record(*headers))


@given(
    st.integers(-(10**15), 10**15),
    NAMES.filter(bool),
    st.none() | st.binary(),
    st.binary(),
    st.lists(st.tuples(NAMES.filter(lambda it: not is_the_records(it)), st.none() | st.binary())),
)
def test_what_is_written_is_read(
    due_ms: int, topic: str, key: bytes | None, value: bytes, headers: list[Header]
) -> None:
    body = HEADERS.encode(Schedule(due_ms, topic, key, value, tuple(headers)))
    found = HEADERS.decode(record(*body.headers, value=body.value))
    assert 0 <= found.due_ms - due_ms < 1000
    assert (found.topic, found.key, found.value) == (topic, key, value)
    kept = [header for header in found.headers if not header[0].startswith("scheduler-")]
    assert kept == headers


@given(st.lists(st.tuples(NAMES, st.none() | st.binary())), st.binary())
def test_anything_is_read_or_refused(headers: list[Header], value: bytes) -> None:
    with suppress(FormatError):
        HEADERS.decode(record(*headers, value=value))


def test_without_a_value_it_would_be_a_cancel() -> None:
    with pytest.raises(FormatError):
        HEADERS.encode(Schedule(5, "t", b"", None))


def test_to_its_own_topic_it_would_fire_again_and_again() -> None:
    with pytest.raises(FormatError):
        HEADERS.encode(Schedule(5, HEADERS_OF.decode(), b"", b""))
