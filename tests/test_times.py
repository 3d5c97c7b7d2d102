"""Times and durations: what people write, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.times import (
    Duration,
    duration_text,
    iso_time,
    now_ms,
    parse_duration,
    parse_time,
    time_text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = 253_402_300_799_999  # the last one of the year 9999

UNITS_MS = {
    "w": 7 * 24 * 3_600_000,
    "d": 24 * 3_600_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class TestTime:
    @pytest.mark.parametrize(
        ("text", "expected_ms"),
        [
            ("1970-01-01T00:00:00Z", 0),
            ("2030-01-31T12:00:00Z", 1_896_091_200_000),
            ("2030-01-31T12:00:00.123456Z", 1_896_091_200_123),
            ("2030-01-31T14:00:00+02:00", 1_896_091_200_000),
            ("20300131T120000Z", 1_896_091_200_000),
            (" 2030-01-31 12:00Z ", 1_896_091_200_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("1896091200000", 1_896_091_200_000),
            ("0", 0),
            (str(LAST_MS), LAST_MS),
        ],
    )
    def test_forms(self, text: str, expected_ms: int) -> None:
        assert parse_time(text) == expected_ms

    @pytest.mark.usefixtures("tokyo")
    def test_without_an_offset_it_is_local(self) -> None:
        assert parse_time("2030-01-31T21:00:00") == parse_time("2030-01-31T12:00:00Z")
        assert parse_time("2030-01-31") == parse_time("2030-01-30T15:00:00Z")
        paris = ZoneInfo("Europe/Paris")
        assert parse_time("2030-01-31T13:00", paris) == parse_time("2030-01-31T12:00:00Z")
        assert parse_time("2030-01-31T12:00Z", paris) == parse_time("2030-01-31T12:00:00Z")

    @pytest.mark.parametrize(
        "text",
        [
            *("", "soon", "5m", "-1", "1.5", "²", "2030-13-01", "2030-01-31T25:00", "12:00"),
            *(str(LAST_MS + 1), "9" * 30, "9" * 5000, "0001-01-01T00:00:00+14:00"),
        ],
    )
    def test_others_are_refused_with_a_sentence(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"is no time: give ISO 8601, .*\.$") as caught:
            parse_time(text)
        assert len(str(caught.value)) < 250

    @given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), OFFSETS)  # noqa: DTZ001
    def test_any_time_with_an_offset(self, naive: datetime, offset: timezone) -> None:
        moment = naive.replace(tzinfo=offset)
        found = EPOCH + timedelta(milliseconds=parse_time(moment.isoformat()))
        assert timedelta(0) <= moment - found < timedelta(milliseconds=1)

    @given(st.integers(-62_135_596_800_000, LAST_MS))
    def test_what_is_written_is_read_back(self, epoch_ms: int) -> None:
        text = iso_time(epoch_ms)
        assert text is not None
        assert text.endswith("Z")
        assert parse_time(text) == parse_time(time_text(epoch_ms)) == epoch_ms

    @given(st.integers(-(2**63), 2**63 - 1))
    def test_any_number_of_a_record_can_be_shown(self, epoch_ms: int) -> None:
        text = iso_time(epoch_ms)
        assert (text is None) == (not -62_135_596_800_000 <= epoch_ms <= LAST_MS)

    @given(st.text())
    def test_any_text_is_a_time_or_a_sentence(self, text: str) -> None:
        for parse in (parse_time, parse_duration):
            try:
                assert isinstance(parse(text), int)
            except ValueError as error:
                assert " is no " in str(error)  # noqa: PT017

    def test_now(self) -> None:
        before = time.time()
        assert before * 1000 - 1 <= now_ms() <= time.time() * 1000 + 1


class TestDuration:
    @pytest.mark.parametrize(
        ("text", "expected_ms"),
        [
            ("5m", 300_000),
            ("5ms", 5),
            ("2h30m", 9_000_000),
            ("3d", 259_200_000),
            ("90s", 90_000),
            ("1w", 604_800_000),
            ("500ms", 500),
            ("1m1s1ms", 61_001),
            ("0s", 0),
            ("PT5M", 300_000),
            ("P1DT2H30M10S", 95_410_000),
            ("P1W", 604_800_000),
            (" PT0S ", 0),
        ],
    )
    def test_forms(self, text: str, expected_ms: int) -> None:
        assert parse_duration(text) == expected_ms

    @given(st.dictionaries(st.sampled_from(list(UNITS_MS)), st.integers(0, 100_000), min_size=1))
    def test_units_add_up(self, parts: dict[str, int]) -> None:
        text = "".join(f"{parts[unit]}{unit}" for unit in UNITS_MS if unit in parts)
        assert parse_duration(text) == sum(UNITS_MS[unit] * n for unit, n in parts.items())

    @pytest.mark.parametrize(
        "text",
        [
            *("", "5", "m", "-5m", "5 m", "1.5h", "30m2h", "5m5m", "5M", "5min", "9999999999w"),
            *("\N{ARABIC-INDIC DIGIT FIVE}m", "9" * 5000 + "s", "2030-01-31"),
            *("P", "PT", "P1DT", "P5M", "P1Y", "PT1.5S", "-PT5M", "PT5M1H", "P99999999999D"),
        ],
    )
    def test_others_are_refused_with_a_sentence(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"is no duration: give whole numbers .*\.$") as caught:
            parse_duration(text)
        assert len(str(caught.value)) < 250


@given(st.integers(0, 2**63))
def test_a_duration_is_printed_as_it_is_read(duration_ms: int) -> None:
    try:
        assert parse_duration(duration_text(duration_ms)) == duration_ms
    except ValueError:
        assert duration_ms > 10**12  # more than a datetime can count
    assert str(Duration(90_000)) == "1m30s"
    assert duration_text(0) == "0s"
