"""When a recurring schedule comes again: APScheduler's triggers, as functions without a state.

Beside ``kms.scheduler`` the only apscheduler: that one waits, and is above the fold; this one is
below it, for the fold has to know when the first occurrence is. It must not import the scheduler,
and all it says depends on its arguments alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
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
_GAP = timedelta(hours=3)  # more than clocks go forward or back
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")  # cron's 0 to 7
Fields = tuple[str, str, str, str, str, str]
_FIELDS = ("second", "minute", "hour", "day", "month", "day_of_week")


@lru_cache(maxsize=1_000)  # of a batch many ask the same
def after_cron(cron: str, zone: ZoneInfo, moment_ms: int) -> int | None:
    """The first time after ``moment_ms`` that a cron expression means, in epoch ms; None if never.

    Five fields, or six with seconds in front. As cron has it: 0 and 7 are Sunday; where both day
    fields are restricted, either will do. On days when the clock is changed a fixed hour and
    minute comes once: the first of two, and as much later as the clock went forward. What has a
    ``*`` in one of them follows the clock on the wall. Raises ValueError.
    """
    eithers, fixed = _parsed(cron)
    if not _FIRST_MS < moment_ms < _LAST_MS:
        return None
    moment = _moment(moment_ms)
    # APScheduler works on the clock on the wall only. Given a zone, it leaves out what comes after
    # the clock went forward: in Berlin, asked on 15 March, the first of April at 00:00.
    trigger = OrTrigger([_one(each, moment + _FARTHEST) for each in eithers])
    found = _real_after(trigger, zone, moment, fixed=fixed)
    return None if found is None else _epoch_ms(found)


@lru_cache(maxsize=1_000)  # as above
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
        found = _next(trigger, _moment(moment_ms))
    except (OverflowError, ValueError):  # past what datetime can say
        return None
    return None if found is None else _epoch_ms(found)


def _next(trigger: BaseTrigger, after: datetime) -> datetime | None:
    # Half a millisecond later: all times are whole ones, and APScheduler counts in floats.
    found: datetime | None = trigger.get_next_fire_time(None, after + 0.5 * _MILLISECOND)
    return found


def _real_after(
    trigger: BaseTrigger, zone: ZoneInfo, moment: datetime, *, fixed: bool
) -> datetime | None:
    """What the clock shows in each stretch between two changes of it.

    With ``fixed`` each time on the wall belongs to one stretch: of two to the first, and what the
    clock leaves out to the one before.
    """
    start = moment - _GAP  # what was left out comes as much after the change
    offset = _offset(start, zone)
    after = moment + offset
    left_out: datetime | None = None
    while (wall := _next(trigger, after)) is not None:
        real = wall - offset
        if left_out is not None:
            return min(left_out, real)
        change = _first_change(zone, start, max(start, moment) + _GAP, real)
        if change is None:
            return real
        before, offset, start = offset, _offset(change, zone), change
        begins = change + (max(before, offset) if fixed else offset)
        if fixed and wall < begins:
            left_out = real  # the next stretch may have an earlier one
        after = max(moment + offset, begins - _MILLISECOND)
    return left_out


def _first_change(
    zone: ZoneInfo, start: datetime, soon: datetime, real: datetime
) -> datetime | None:
    """The first change up to ``real`` that matters to what is found there.

    A clock that goes back soon after the start shows again what came before the start. Later on
    there is nothing that it could show another time, so of several changes any one will do.
    """
    near, far = min(soon, real), max(start, real - _GAP)
    for low, high in pairwise((start, near, far, real)):
        if _changes(zone, low, high):
            return _change(zone, low, high)
    return None


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    return _offset(start, zone) != _offset(end, zone)


def _change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime:
    """The first whole second in between that has the offset of the end."""
    low, high = int(start.timestamp()), int(end.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _changes(zone, _moment(middle * 1000), end):
            low = middle
        else:
            high = middle
    return _moment(high * 1000)


@lru_cache(maxsize=1_000)
def _parsed(cron: str) -> tuple[list[Fields], bool]:
    """Of which fields either will do, and whether hour and minute are fixed."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"it has {len(fields)} fields; there are 5, or 6 with seconds in front")
    second, minute, hour, day, month, weekday = ["0", *fields][-6:]
    fixed = not (minute.startswith("*") or hour.startswith("*"))
    eithers = [(second, minute, hour, day, month, _weekdays(weekday))]
    if not (day.startswith("*") or weekday.startswith("*")):
        by_day, by_weekday = (day, month, "*"), ("*", month, _weekdays(weekday))
        eithers = [(second, minute, hour, *by_day), (second, minute, hour, *by_weekday)]
    for each in eithers:
        _one(each)
    return eithers, fixed


def _one(fields: Fields, end: datetime | None = None) -> BaseTrigger:
    return CronTrigger(**dict(zip(_FIELDS, fields, strict=True)), timezone=UTC, end_date=end)


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
