"""When it comes again: crons, intervals, and the days on which the clock is changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kms.recurrence import after_cron, after_interval

HOUR_MS = 3_600_000
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
FAR_MS = 250_000_000_000_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """What comes next, as the clock on the wall in that zone shows it."""
    found, moment_ms, place = [], ms(after), ZoneInfo(zone)
    for _ in range(count):
        following = after_cron(cron, place, moment_ms)
        assert following is not None
        moment_ms = following
        found.append(f"{datetime.fromtimestamp(moment_ms / 1000, place):%a %m-%d %H:%M:%S%z}")
    return found


CRONS = {
    "0 8 * * *": ["Tue 06-01 08:00:00", "Wed 06-02 08:00:00"],
    "*/20 * * * *": ["Tue 06-01 00:20:00", "Tue 06-01 00:40:00"],
    "*/30 * * * * *": ["Tue 06-01 00:00:30", "Tue 06-01 00:01:00"],
    "0 0 * * 0": ["Sun 06-06 00:00:00", "Sun 06-13 00:00:00"],
    "0 0 * * 7": ["Sun 06-06 00:00:00", "Sun 06-13 00:00:00"],
    "0 0 * * 1-5": ["Wed 06-02 00:00:00", "Thu 06-03 00:00:00", "Fri 06-04 00:00:00"],
    "0 0 * * MON,fri": ["Fri 06-04 00:00:00", "Mon 06-07 00:00:00"],
    "0 0 * * fri-sun": ["Fri 06-04 00:00:00", "Sat 06-05 00:00:00", "Sun 06-06 00:00:00"],
    "0 0 * * */3": ["Wed 06-02 00:00:00", "Sat 06-05 00:00:00", "Sun 06-06 00:00:00"],
    "0 0 * * 4/2": ["Thu 06-03 00:00:00", "Sat 06-05 00:00:00", "Thu 06-10 00:00:00"],
    "0 0 3 * 6": ["Thu 06-03 00:00:00", "Sat 06-05 00:00:00", "Sat 06-12 00:00:00"],  # either
    "0 0 * * 0-0": ["Sun 06-06 00:00:00", "Sun 06-13 00:00:00"],
    "0 0 * * sun-sun": ["Sun 06-06 00:00:00", "Sun 06-13 00:00:00"],
    "0 0 * * sun-mon": ["Sun 06-06 00:00:00", "Mon 06-07 00:00:00", "Sun 06-13 00:00:00"],
    "0 0 * * 0-7/3": ["Wed 06-02 00:00:00", "Sat 06-05 00:00:00", "Sun 06-06 00:00:00"],
    "0 0 1 JAN,mar-may/2 *": ["Sat 01-01 00:00:00", "Wed 03-01 00:00:00", "Mon 05-01 00:00:00"],
    # A step past the end leaves the first.
    "*/60 * * * *": ["Tue 06-01 01:00:00", "Tue 06-01 02:00:00"],
    "*/90 8-10/3 * * *": ["Tue 06-01 08:00:00", "Wed 06-02 08:00:00"],
    "5 */24 * * *": ["Tue 06-01 00:05:00", "Wed 06-02 00:05:00"],
    "0 0 */31 */12 *": ["Sat 01-01 00:00:00", "Mon 01-01 00:00:00"],
    "59/60 0 * * * *": ["Tue 06-01 00:00:59", "Tue 06-01 01:00:59"],
    "0 0 1,LAST * *": ["Wed 06-30 00:00:00", "Thu 07-01 00:00:00", "Sat 07-31 00:00:00"],
    "0 0 last 2 *": ["Tue 02-29 00:00:00", "Wed 02-28 00:00:00"],
    "0 0 29 2 *": ["Tue 02-29 00:00:00", "Sun 02-29 00:00:00"],
}


@pytest.mark.parametrize(("cron", "expected"), CRONS.items())
def test_crons(cron: str, expected: list[str]) -> None:
    found = times(cron, "UTC", "2027-06-01T00:00:00Z", len(expected))
    assert found == [f"{each}+0000" for each in expected]


CLOCK_CHANGES = {
    # Forward: 02:00 is 03:00. What falls into the gap comes as much later, once.
    ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00Z"): [
        "Sun 03-28 03:30:00+0200",
        "Mon 03-29 02:30:00+0200",
    ],
    ("30 2 * * *", "America/New_York", "2027-03-13T12:00Z"): [
        "Sun 03-14 03:30:00-0400",
        "Mon 03-15 02:30:00-0400",
    ],
    ("30 * * * *", "Europe/Berlin", "2027-03-28T00:00Z"): [
        "Sun 03-28 01:30:00+0100",
        "Sun 03-28 03:30:00+0200",
    ],
    ("30 * * * *", "America/New_York", "2027-03-14T06:00Z"): [
        "Sun 03-14 01:30:00-0500",
        "Sun 03-14 03:30:00-0400",
    ],
    # Back: an hour is there twice. A fixed time comes the first time only, a * both times.
    ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00Z"): [
        "Sun 10-31 02:30:00+0200",
        "Mon 11-01 02:30:00+0100",
    ],
    ("30 1 * * *", "America/New_York", "2027-11-06T12:00Z"): [
        "Sun 11-07 01:30:00-0400",
        "Mon 11-08 01:30:00-0500",
    ],
    ("30 * * * *", "Europe/Berlin", "2027-10-31T00:00Z"): [
        "Sun 10-31 02:30:00+0200",
        "Sun 10-31 02:30:00+0100",
        "Sun 10-31 03:30:00+0100",
    ],
    # Also where the next match of the first time round is on another day.
    ("*/15 2 * * *", "Europe/Berlin", "2027-10-31T00:45Z"): [
        "Sun 10-31 02:00:00+0100",
        "Sun 10-31 02:15:00+0100",
        "Sun 10-31 02:30:00+0100",
        "Sun 10-31 02:45:00+0100",
        "Mon 11-01 02:00:00+0100",
    ],
    ("59 * 31 10 *", "Europe/Berlin", "2027-10-30T20:59Z"): [
        "Sun 10-31 00:59:00+0200",
        "Sun 10-31 01:59:00+0200",
        "Sun 10-31 02:59:00+0200",
        "Sun 10-31 02:59:00+0100",
        "Sun 10-31 03:59:00+0100",
    ],
    ("*/20 1 4 4 *", "Australia/Lord_Howe", "2027-04-03T14:40Z"): [
        "Sun 04-04 01:40:00+1030",
        "Tue 04-04 01:00:00+1030",
    ],
    # A list with a * in it follows the clock, too.
    ("30 2,* * * *", "Europe/Berlin", "2027-10-31T00:00Z"): [
        "Sun 10-31 02:30:00+0200",
        "Sun 10-31 02:30:00+0100",
    ],
    ("30 * * * *", "America/New_York", "2027-11-07T05:00Z"): [
        "Sun 11-07 01:30:00-0400",
        "Sun 11-07 01:30:00-0500",
        "Sun 11-07 02:30:00-0500",
    ],
}


@pytest.mark.parametrize(("case", "expected"), CLOCK_CHANGES.items())
def test_clock_changes(case: tuple[str, str, str], expected: list[str]) -> None:
    cron, zone, after = case
    assert times(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_one_comes_on_every_day_of_the_year_once(zone: str) -> None:
    moment_ms, place, days = ms("2027-01-01T12:00Z"), ZoneInfo(zone), []
    for _ in range(366):
        found = after_cron("30 2 * * *", place, moment_ms)
        assert found is not None
        moment_ms = found
        days.append(datetime.fromtimestamp(found / 1000, place).date())
    assert days == [days[0] + timedelta(number) for number in range(366)]


def test_nothing_is_left_out_after_a_change_of_the_clock() -> None:
    """APScheduler's own zones lose it: 1 April at midnight, asked on 15 March, was 1 May."""
    assert times("0 0 1 * *", "Europe/Berlin", "2027-03-15T00:00Z", 2) == [
        "Thu 04-01 00:00:00+0200",
        "Sat 05-01 00:00:00+0200",
    ]
    assert times("0 * 1 * *", "Europe/Berlin", "2027-03-15T00:00Z", 1) == [
        "Thu 04-01 00:00:00+0200"
    ]
    # Two that the gap brings together, or out of order.
    assert times("0,30 2-3 * * *", "Europe/Berlin", "2027-03-27T12:00Z", 3) == [
        "Sun 03-28 03:00:00+0200",
        "Sun 03-28 03:30:00+0200",
        "Mon 03-29 02:00:00+0200",
    ]


BAD = [
    *("", "* * * *", "* * * * * * *", "60 * * * *", "a * * * *", "* 24 * * *", "* * 0 * *"),
    *("* * * 13 *", "* * * * 8", "* * * * x", "* * * * 1-", "* * * * 5-2", "* * * * */0"),
    *("* * * * 1/x", "*/0 * * * *", "* * ? * *", "@daily", "* * * * ²", "70/60 * * * *"),
    *("* * L * *", "* * 15W * *", "* * * * mon#2", "* * * * 5L", "* * * * ?", "* * last-3 * *"),
    *("* * * jan/ *", "* * * ,1 *", "* * * 0 *", "* * * january *", "50-40/60 * * * *"),
    *("*-5 * * * *", "1, * * * *", "0 22-2 * * *", "* * * * Sunday", "+5 * * * *"),
]


@pytest.mark.parametrize("cron", BAD)
def test_what_is_no_cron_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        after_cron(cron, ZoneInfo("UTC"), 0)


REFUSALS = {
    "* * L * *": "'L' is no day: 1 to 31, last by itself",
    "* * last-3 * *": "'last' is no day: 1 to 31, last by itself",
    "* 24 * * *": "'24' is no hour: 0 to 23",
    "* * * * mon#2": "'mon#2' is no day of week: 0 to 7, sun, mon, tue, wed, thu, fri, sat",
    "* 22-2 * * *": "'22-2' ends before it begins",
    "* * * * */0": "'0' is no step",
    f"* * * {'x' * 1000} *": f"'{'x' * 60}' is no month: 1 to 12, jan, feb, ",
}


@pytest.mark.parametrize(("cron", "text"), REFUSALS.items(), ids=range(len(REFUSALS)))
def test_the_sentence_says_what_there_is(cron: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        after_cron(cron, ZoneInfo("UTC"), 0)


def test_what_never_comes_is_soon_found_out() -> None:
    assert after_cron("0 0 30 2 *", ZoneInfo("UTC"), ms("2027-01-01T00:00Z")) is None
    assert after_cron("* * * * *", ZoneInfo("UTC"), 2**63 - 1) is None
    assert after_cron("* * * * *", ZoneInfo("UTC"), -(2**63)) is None
    assert after_interval(1000, 2**63 - 1, 0) is None
    assert after_interval(1000, 0, -(2**63)) is None
    assert after_interval(2**62, 5, 4) == 5
    assert after_interval(2**62, 5, 5) is None
    assert after_interval(FAR_MS - 1, FAR_MS - 1, FAR_MS - 1) is None


FIELD = st.sampled_from(["*", "0", "30", "*/7", "1-2", "3,2", "*/15"])
CRON = st.builds(
    lambda *fields: " ".join(fields),
    *(FIELD, st.sampled_from(["*", "2", "1-3", "*/2", "1,2", "23"])),
    *(st.sampled_from(["*", "1", "28-31", "last", "*/10"]), st.sampled_from(["*", "3", "10,11"])),
    st.sampled_from(["*", "0", "sun-mon", "6-7", "*/2"]).filter(lambda it: it != "sun-mon"),
)


@given(
    CRON,
    st.sampled_from(ZONES),
    st.integers(ms("2026-01-01T00:00Z"), ms("2030-01-01T00:00Z"))
    | st.integers(ms("2027-10-30T20:00Z"), ms("2027-10-31T04:00Z"))
    | st.integers(ms("2027-03-27T20:00Z"), ms("2027-03-28T04:00Z")),
)
@example("*/15 2 * * *", "Europe/Berlin", ms("2027-03-28T00:59Z"))
def test_it_always_goes_forward_and_leaves_nothing_out(cron: str, zone: str, after: int) -> None:
    place = ZoneInfo(zone)
    first = after_cron(cron, place, after)
    assert first is not None
    assert first > after
    assert after_cron(cron, place, first - 1) == first
    assert after_cron(cron, place, (after + first) // 2) == first
    second = after_cron(cron, place, first)
    assert second is not None
    assert second > first
    assert first % 1000 == second % 1000 == 0


@given(
    st.integers(1_000, 10**11),
    st.integers(-(10**12), 10**13),
    st.integers(-(10**12), 10**13),
)
def test_intervals_keep_to_their_start(every_ms: int, start_ms: int, moment_ms: int) -> None:
    expected = start_ms
    if moment_ms >= start_ms:
        expected += ((moment_ms - start_ms) // every_ms + 1) * every_ms
    found = after_interval(every_ms, start_ms, moment_ms)
    assert found == expected
    assert after_interval(every_ms, start_ms, expected - 1) == expected
    assert after_interval(every_ms, expected, expected) == expected + every_ms


def test_a_day_of_an_interval_is_24_hours() -> None:
    start = datetime(2027, 3, 27, 12, tzinfo=UTC)
    start_ms = int(start.timestamp() * 1000)
    assert after_interval(24 * HOUR_MS, start_ms, start_ms) == start_ms + 24 * HOUR_MS
