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
Fields = dict[str, str]
_BOUNDS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "day_of_week": (0, 7),
}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "day_of_week": {name: number for number, name in enumerate(_DAYS)},
}


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
    asked = dict(zip(_BOUNDS, ["0", *fields][-6:], strict=True))
    found = {name: _field(name, field) for name, field in asked.items()}
    eithers = [found]
    if not (asked["day"].startswith("*") or asked["day_of_week"].startswith("*")):
        eithers = [found | {"day_of_week": "*"}, found | {"day": "*"}]
    return eithers, "*" not in asked["minute"] + asked["hour"]


def _one(fields: Fields, end: datetime) -> BaseTrigger:
    return CronTrigger(**fields, timezone=UTC, end_date=end)


def _field(name: str, field: str) -> str:
    """Cron's field for APScheduler, whose week begins on Monday, and which refuses long steps."""
    return field if field == "*" else ",".join(_part(name, part) for part in field.split(","))


def _part(name: str, part: str) -> str:
    if name == "day" and part.lower() == "last":
        return "last"
    found = _numbers(name, part)
    if name == "day_of_week":
        return ",".join(_DAYS[number % 7] for number in found)
    return f"{found[0]}-{found[-1]}/{found.step}" if len(found) > 1 else str(found[0])


def _numbers(name: str, part: str) -> range:
    """What ``*``, ``4`` or ``1-5``, with a step or without, stands for in that field."""
    least, most = _BOUNDS[name]
    given, slash, step = part.partition("/")
    first, dash, last = given.partition("-")
    start = end = least if given == "*" else _number(name, first)
    if dash:
        end = _number(name, last)
        if name == "day_of_week" and start > 0:
            end = end or 7  # up to Sunday: the one at the end
    elif slash or given == "*":
        end = 6 if name == "day_of_week" else most  # Sunday once
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        raise ValueError(f"{step[:60]!r} is no step")
    found = range(start, end + 1, int(step or 1))
    if not found:
        raise ValueError(f"{part[:60]!r} ends before it begins")
    return found


def _number(name: str, text: str) -> int:
    least, most = _BOUNDS[name]
    names = _NAMES.get(name, {})
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    also = ["last by itself"] if name == "day" else names
    known = ", ".join([f"{least} to {most}", *also])
    raise ValueError(f"{text[:60]!r} is no {name.replace('_', ' ')}: {known}")


def _moment(epoch_ms: int) -> datetime:
    return _EPOCH + epoch_ms * _MILLISECOND


def _epoch_ms(moment: datetime) -> int:
    return round((moment - _EPOCH) / _MILLISECOND)
