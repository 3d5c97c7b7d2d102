"""Whole chains of crons on days when the clock is changed, against a slow and plain oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.recurrence import after_cron

EPOCH = datetime.fromtimestamp(0, UTC)
MILLISECOND, MINUTE, HOUR = timedelta(milliseconds=1), timedelta(minutes=1), timedelta(hours=1)
AROUND = 6 * HOUR  # before and after a change; no clock is changed by half of it
ZONES = [
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York"),
    "Australia/Lord_Howe",  # by half an hour
    "Antarctica/Troll",  # by two
    *("America/Havana", "America/Santiago", "Africa/Cairo"),  # at midnight: the date changes too
    "Pacific/Chatham",  # at a quarter to
    "Africa/Casablanca",  # for Ramadan
]


class Change(NamedTuple):
    zone: str
    at: datetime

    def hour(self, later: int) -> int:
        """Of the last hour that the clock shows before it, or so many hours later."""
        return ((self.at - MINUTE).astimezone(ZoneInfo(self.zone)).hour + later) % 24


def steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    """From the first after the start to the end."""
    while (start := start + step) <= end:
        yield start


def changes(zone: str) -> Iterator[Change]:
    """Those of 2025: of what is over, no government thinks better."""
    place, before = ZoneInfo(zone), None
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    for moment in steps(start, end, HOUR / 2):
        offset = moment.astimezone(place).utcoffset()
        if before not in (None, offset):
            yield Change(zone, moment)
        before = offset


CHANGES = [change for zone in ZONES for change in changes(zone)]


def by_the_minute(cron: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """What comes after the start and up to the end: each minute is asked."""
    place, fields = ZoneInfo(zone), cron.split()
    if "*" in fields[0] + fields[1]:
        return [it for it in steps(start, end, MINUTE) if fits(fields, it.astimezone(place))]
    # Each time on a wall where no clock is changed; Python, too, takes the first of two, and what
    # is left out as much later.
    low, high = (it.astimezone(place).replace(tzinfo=None) for it in (start, end))
    walls = [it for it in steps(low - AROUND, high + AROUND, MINUTE) if fits(fields, it)]
    found = {it.replace(tzinfo=place).astimezone(UTC) for it in walls}
    return sorted(it for it in found if start < it <= end)


def fits(fields: list[str], shown: datetime) -> bool:
    values = (shown.minute, shown.hour, shown.day, shown.month, shown.isoweekday() % 7)
    return all(map(fits_one, fields, values))


def fits_one(field: str, value: int) -> bool:
    if field.startswith("*"):
        return value % int(field[2:] or 1) == 0
    return str(value) in field.split(",")


def chain(cron: str, zone: str, asked: datetime, end: datetime) -> Iterator[datetime]:
    """What comes after one asks, one after the other."""
    moment = asked
    while True:
        found = after_cron(cron, ZoneInfo(zone), round((moment - EPOCH) / MILLISECOND))
        assert found is not None
        assert EPOCH + found * MILLISECOND > moment
        moment = EPOCH + found * MILLISECOND
        if moment > end:
            return
        yield moment


def joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def test_each_zone_has_changes_both_ways() -> None:
    for zone in ZONES:
        place = ZoneInfo(zone)
        before = [
            (it.at - MINUTE).astimezone(place).utcoffset() for it in CHANGES if it.zone == zone
        ]
        assert len(before) == len(set(before)) == 2, zone


@pytest.mark.parametrize("change", CHANGES, ids=lambda it: f"{it.zone} {it.at:%m-%d}")
@pytest.mark.parametrize("minutes", ["*", "*/15", "0", "30", "20,40"])
def test_chains_over_a_change(change: Change, minutes: str) -> None:
    one, following = change.hour(0), change.hour(1)
    start, end = change.at - AROUND, change.at + AROUND
    for hours in ("*", "*/2", f"{one}", f"{following}", f"{one},{following}"):
        cron = f"{minutes} {hours} * * *"
        found = list(chain(cron, change.zone, start, end))
        assert found == by_the_minute(cron, change.zone, start, end), cron


MINUTES = ["*", "*/7", "*/15", "*/20", "0", "30", "20,40", "5,10,59"]
# Hours of the clock by how much later they are than the last before the change.
HOURS = st.lists(st.integers(-2, 3), min_size=1, max_size=2, unique=True)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(MINUTES),
    st.sampled_from(["*", "*/2", "*/3"]) | HOURS | HOURS,
    st.integers(-90, 6 * 60),
    st.sampled_from(["any", "weekday", "date"]),
    st.integers(0, 300),
)
def test_any_chain_over_any_change(
    zone: str, minutes: str, hours: str | list[int], before: int, day: str, days_before: int
) -> None:
    for change in (it for it in CHANGES if it.zone == zone):
        asked, end = change.at - before * MINUTE, change.at + AROUND
        shown = change.at.astimezone(ZoneInfo(zone))
        days = {"any": "* * *", "weekday": f"* * {shown.isoweekday() % 7}"}.get(day)
        if days is None:  # one day in a year, asked from afar over other changes
            asked, days = asked - timedelta(days_before), f"{shown.day} {shown.month} *"
        hour = hours if isinstance(hours, str) else joined(map(change.hour, hours))
        cron, start = f"{minutes} {hour} {days}", max(asked, change.at - AROUND)
        found = [it for it in chain(cron, zone, asked, end) if it > start]
        assert found == by_the_minute(cron, zone, start, end), cron
