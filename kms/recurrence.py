"""When a recurring schedule comes again: APScheduler's triggers, as functions without a state.

Beside ``kms.scheduler`` the only apscheduler: that one waits, and is above the fold; this one is
below it, for the fold has to know when the first occurrence is. It must not import the scheduler,
and all it says depends on its arguments alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS, _LAST_MS = -62_135_000_000_000, 250_000_000_000_000  # within what datetime can say
# A cron that never matches is searched no further; 29 February is a Monday every 40 years at most.
_FARTHEST = timedelta(days=365 * 50)
_GAP = timedelta(hours=3)  # more than clocks go forward
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")  # cron's 0 to 7
Fields = tuple[str, str, str, str, str, str]
_FIELDS = ("second", "minute", "hour", "day", "month", "day_of_week")


def after_cron(cron: str, zone: ZoneInfo, moment_ms: int) -> int | None:
    """The first time after ``moment_ms`` that a cron expression means, in epoch ms; None if never.

    Five fields, or six with seconds in front. As cron has it: 0 and 7 are Sunday; where both day
    fields are restricted, either will do. Where the clock goes forward, what falls into the gap
    comes as much later; where it goes back, a fixed hour and minute comes once, the first time,
    and what has a ``*`` in one of them goes on. Raises ValueError.
    """
    eithers, once = _parsed(cron, zone)
    if not _FIRST_MS < moment_ms < _LAST_MS:
        return None
    moment = _moment(moment_ms)
    trigger = OrTrigger([_one(each, zone, moment + _FARTHEST) for each in eithers])
    # Asked after the clock went forward, APScheduler knows of no time in the gap any more.
    found = _next(trigger, moment - _GAP if _went_forward(moment, zone) else moment, zone)
    while found is not None and (found <= moment or (once and found.fold)):
        found = _next(trigger, found, zone)
    return None if found is None else _epoch_ms(found)


def after_interval(every_ms: int, start_ms: int, moment_ms: int) -> int | None:
    """The first of ``start_ms``, ``start_ms`` + ``every_ms``, … after ``moment_ms``.

    In epoch ms; None if there is none before the year 9892. A day is 24 hours here.
    """
    if not (_FIRST_MS < start_ms < _LAST_MS and _FIRST_MS < moment_ms < _LAST_MS):
        return None
    if every_ms > _LAST_MS:
        return start_ms if start_ms > moment_ms else None
    seconds = every_ms / 1000
    trigger = IntervalTrigger(seconds=seconds, start_date=_moment(start_ms), timezone=UTC)
    try:
        found = _next(trigger, _moment(moment_ms), UTC)
    except (OverflowError, ValueError):  # past what datetime can say
        return None
    return None if found is None else _epoch_ms(found)


def _next(trigger: BaseTrigger, after: datetime, zone: ZoneInfo | timezone) -> datetime | None:
    # Half a millisecond later: all times are whole ones, and APScheduler counts in floats.
    now = (after.astimezone(UTC) + 0.5 * _MILLISECOND).astimezone(zone)
    found: datetime | None = trigger.get_next_fire_time(None, now)
    return found


def _went_forward(moment: datetime, zone: ZoneInfo) -> bool:
    before, after = (
        it.astimezone(zone).utcoffset() for it in (moment - _GAP, moment + timedelta(seconds=1))
    )
    return before is not None and after is not None and after > before


@lru_cache(maxsize=1_000)
def _parsed(cron: str, zone: ZoneInfo) -> tuple[list[Fields], bool]:
    """Of which fields either will do, and whether it comes once where the clock goes back."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"it has {len(fields)} fields; there are 5, or 6 with seconds in front")
    second, minute, hour, day, month, weekday = ["0", *fields][-6:]
    once = not (minute.startswith("*") or hour.startswith("*"))
    eithers = [(second, minute, hour, day, month, _weekdays(weekday))]
    if not (day.startswith("*") or weekday.startswith("*")):
        by_day, by_weekday = (day, month, "*"), ("*", month, _weekdays(weekday))
        eithers = [(second, minute, hour, *by_day), (second, minute, hour, *by_weekday)]
    for each in eithers:
        _one(each, zone)
    return eithers, once


def _one(fields: Fields, zone: ZoneInfo, end: datetime | None = None) -> BaseTrigger:
    return CronTrigger(**dict(zip(_FIELDS, fields, strict=True)), timezone=zone, end_date=end)


def _weekdays(field: str) -> str:
    """Cron's field with the names of days, for APScheduler counts from Monday."""
    if field == "*":
        return field
    return ",".join(dict.fromkeys(_DAYS[it] for part in field.split(",") for it in _numbers(part)))


def _numbers(part: str) -> range:
    days, _, step = part.partition("/")
    first, dash, last = days.partition("-")
    if days == "*":
        found = range(7)
    elif dash:
        start, end = _number(first), _number(last)
        found = range(start, (end or 7) + 1)  # up to Sunday: the one at the end
    elif step:
        found = range(_number(first), 7)
    else:
        found = range(_number(first), _number(first) + 1)
    if step and not (step.isascii() and step.isdigit() and int(step) > 0):
        raise ValueError(f"{step!r} is no step")
    found = found[:: int(step)] if step else found
    if not found:
        raise ValueError(f"{part!r} has no day of the week in it")
    return found


def _number(day: str) -> int:
    if day.lower() in _DAYS:
        return _DAYS.index(day.lower())
    if len(day) == 1 and day in "01234567":
        return int(day)
    raise ValueError(f"{day!r} is no day of the week: sun to sat, or 0 to 7")


def _moment(epoch_ms: int) -> datetime:
    return _EPOCH + epoch_ms * _MILLISECOND


def _epoch_ms(moment: datetime) -> int:
    return round((moment - _EPOCH) / _MILLISECOND)
