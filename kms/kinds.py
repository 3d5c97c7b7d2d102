"""Kinds of schedule, asked for by headers on the schedule record: window, expiry, recurrence.

A record that recurs is written again when it fires, with the same value, for its next time. That
record says what it follows (``kms-fired-offset``, ``kms-fired-topic``, as a tombstone would),
when it is due (``kms-next``, whatever the time in its value) and how often it fired
(``kms-occurrence``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from kms import times
from kms.errors import BadHeaderError
from kms.schedule import (
    FIRED_OFFSET_HEADER,
    FIRED_TOPIC_HEADER,
    UNREADABLE_HEADER,
    Header,
)

EXPIRES, WINDOW = "kms-expires", "kms-window"
CRON, EVERY = "kms-cron", "kms-every"
TIMEZONE, UNTIL, COUNT, MISSED = "kms-timezone", "kms-until", "kms-count", "kms-missed"
ASKED = (EXPIRES, WINDOW, CRON, EVERY, TIMEZONE, UNTIL, COUNT, MISSED)
NEXT, OCCURRENCE = "kms-next", "kms-occurrence"
# Of the record and never of the message.
CONTROL = frozenset(
    (*ASKED, NEXT, OCCURRENCE, FIRED_OFFSET_HEADER, FIRED_TOPIC_HEADER, UNREADABLE_HEADER)
)

EXPIRED, LEFT_OUT = "expired", "missed"  # why a due schedule is not fired

LEAST_EVERY_MS = 1_000
_GRACE_MS = 60_000  # later than that an occurrence was missed, for kms-missed: none
_LONGEST, _MOST_HEADERS = 1_000, 50
_OF_RECURRENCE = (TIMEZONE, UNTIL, COUNT, MISSED)
T = TypeVar("T")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Recurrence(NamedTuple):
    """How often; one of ``cron`` and ``every_ms``. ``next_ms`` None is a first occurrence.

    At ``most`` so many are fired; ``fired`` is how many occurrences were fired before this one.
    """

    cron: str | None
    every_ms: int | None
    zone: ZoneInfo
    until_ms: int | None
    most: int | None
    missed: str
    next_ms: int | None
    fired: int

    def after(self, start_ms: int, moment_ms: int) -> int | None:
        """The first time after ``moment_ms``; ``start_ms`` is one of an interval's times."""
        # Here, as only what recurs needs APScheduler: programs that import kms.client don't.
        from kms.recurrence import after_cron, after_interval

        if self.cron is not None:
            found = after_cron(self.cron, self.zone, moment_ms)
        else:
            found = after_interval(self.every_ms or 0, start_ms, moment_ms)
        over = found is None or (self.until_ms is not None and found > self.until_ms)
        return None if over else found


class Kind(NamedTuple):
    """What a record's headers ask for; of the two ways to expire one at most."""

    window_ms: int = 0
    expires_ms: int | None = None
    expires_after_ms: int | None = None
    recurrence: Recurrence | None = None

    def why_late(self, due_ms: int, now_ms: int) -> str:
        """Why what was due at ``due_ms``, its spot, is not fired any more; empty if it is."""
        by_ms = self.expires_ms
        if by_ms is None and self.expires_after_ms is not None:
            by_ms = due_ms + self.expires_after_ms
        if by_ms is not None and now_ms > by_ms:
            return EXPIRED
        leaves_out = self.recurrence is not None and self.recurrence.missed == "none"
        return LEFT_OUT if leaves_out and now_ms > due_ms + _GRACE_MS else ""


def kind_of(headers: Sequence[Header]) -> Kind | None:
    """What these headers ask for, None for nothing. Raises BadHeaderError."""
    if not headers:
        return None
    asked = tuple(header for header in headers if header[0] in CONTROL)
    if not asked:
        return None
    # What is longer makes no sense, is remembered below, and would take seconds to be read.
    if len(asked) > _MOST_HEADERS or any(len(value or b"") > _LONGEST for _, value in asked):
        raise BadHeaderError(f"a header kms-* is longer than {_LONGEST} bytes, or one of too many")
    return _kind(asked)


def recurs(headers: Sequence[Header]) -> bool:
    """Whether they ask for more than one occurrence."""
    return any(name in (CRON, EVERY) for name, _ in headers)


@lru_cache(maxsize=1_000)
def _kind(asked: tuple[Header, ...]) -> Kind:
    found = {name: _text(name, value) for name, value in asked}
    if UNREADABLE_HEADER in found:
        # Among them may be one that says when, or until when.
        raise BadHeaderError(
            f"its headers can't be read ({found[UNREADABLE_HEADER]}): write it again without that"
        )
    if CRON not in found and EVERY not in found:
        for name in _OF_RECURRENCE:
            if name in found:
                raise BadHeaderError(f"{name} needs {CRON} or {EVERY} beside it")
    zone = _parsed(found, TIMEZONE, _zone) or ZoneInfo("UTC")
    window_ms = _parsed(found, WINDOW, times.parse_duration) or 0
    by_ms, after_ms = _parsed(found, EXPIRES, lambda text: _expires(text, zone)) or (None, None)
    return Kind(window_ms, by_ms, after_ms, _recurrence(found, zone))


def _recurrence(found: Mapping[str, str], zone: ZoneInfo) -> Recurrence | None:
    if CRON in found and EVERY in found:
        raise BadHeaderError(f"{CRON} and {EVERY} exclude each other")
    if CRON not in found and EVERY not in found:
        return None
    from kms.recurrence import after_cron

    _parsed(found, CRON, lambda text: after_cron(text, zone, 0))
    return Recurrence(
        found.get(CRON),
        _parsed(found, EVERY, _every),
        zone,
        _parsed(found, UNTIL, lambda text: times.parse_time(text, zone)),
        _parsed(found, COUNT, _count),
        _parsed(found, MISSED, _missed) or "one",
        _parsed(found, NEXT, _whole),
        _parsed(found, OCCURRENCE, _whole) or 0,
    )


def _text(name: str, value: bytes | None) -> str:
    try:
        return (value or b"").decode().strip()
    except UnicodeDecodeError:
        raise BadHeaderError(f"the header {name} is no text") from None


def _parsed(found: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    if name not in found:
        return None
    try:
        return parse(found[name])
    except ValueError as error:
        raise BadHeaderError(f"the header {name} can't be read: {error}".rstrip(".")) from error


def _zone(text: str) -> ZoneInfo:
    # ZoneInfo also reads what a machine has beside them: `localtime`, which is its own, and where
    # file names have no case, `europe/berlin`.
    if text not in _zone_names():
        raise ValueError(f"{text[:60]!r} is no time zone: give an IANA name, like Europe/Berlin")
    return ZoneInfo(text)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    """IANA's, the same on every machine."""
    return frozenset((files("tzdata") / "zones").read_text().split())


def _expires(text: str, zone: ZoneInfo) -> tuple[int | None, int | None]:
    """By when, or how long after it is due."""
    with suppress(ValueError):
        return None, times.parse_duration(text)
    with suppress(ValueError):
        return times.parse_time(text, zone), None
    raise ValueError(
        f"{text[:60]!r} is no time and no duration: give milliseconds since 1970, ISO 8601, or a "
        "duration like 5m"
    )


def _every(text: str) -> int:
    every_ms = times.parse_duration(text)
    if every_ms < LEAST_EVERY_MS:
        raise ValueError(f"{text[:60]!r} is less than a second")
    return every_ms


def _count(text: str) -> int:
    count = _whole(text)
    if count < 1:
        raise ValueError(f"{text[:60]!r} is not 1 or more")
    return count


def _missed(text: str) -> str:
    if text not in ("all", "one", "none"):
        raise ValueError(f"{text[:60]!r} is none of all, one, none")
    return text


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no whole number")
    return int(text)
