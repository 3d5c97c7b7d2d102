"""Times and durations as people write them; inside they are whole milliseconds.

A bad text raises ValueError, whose text is the end of a sentence: "... is no duration: ...".
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo

LEAST_MS, MOST_MS = -(2**63), 2**63 - 1  # a time that Avro, Java and the cache have room for

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[0-9]+")
_DURATION = re.compile(
    r"(?=[0-9])"
    r"(?:(?P<weeks>[0-9]+)w)?"
    r"(?:(?P<days>[0-9]+)d)?"
    r"(?:(?P<hours>[0-9]+)h)?"
    r"(?:(?P<minutes>[0-9]+)m)?"
    r"(?:(?P<seconds>[0-9]+)s)?"
    r"(?:(?P<milliseconds>[0-9]+)ms)?"
)
_ISO_DURATION = re.compile(  # without years and months, which have no length of their own
    r"P(?=[0-9]|T[0-9])"
    r"(?:(?P<weeks>[0-9]+)W)?"
    r"(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])"
    r"(?:(?P<hours>[0-9]+)H)?"
    r"(?:(?P<minutes>[0-9]+)M)?"
    r"(?:(?P<seconds>[0-9]+)S)?"
    r")?"
)

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def now_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def parse_time(text: str, zone: tzinfo | None = None) -> int:
    """Epoch milliseconds of an ISO 8601 time, or of epoch milliseconds in digits.

    A time without an offset or Z is one of ``zone``, or of the machine's local one. What is finer
    than a millisecond is cut off. Raises ValueError.
    """
    text = text.strip()
    try:
        if _NUMBER.fullmatch(text):
            return _epoch_ms(_EPOCH + _MILLISECOND * int(text))
        moment = datetime.fromisoformat(text)
        if zone is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return _epoch_ms(moment.astimezone(UTC))
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{_quoted(text)} is no time: give ISO 8601, like 2030-01-31T12:00:00Z (without Z or "
            "+02:00 it is local time), or milliseconds since 1970."
        ) from None


def parse_duration(text: str) -> int:
    """Milliseconds of a duration like 90s, 2h30m or 1w, the larger unit first.

    The units are w, d, h, m, s and ms, each once at most; ISO 8601's form, PT2H30M, is read as
    well, without years and months. Raises ValueError.
    """
    text = text.strip()
    found = _DURATION.fullmatch(text) or _ISO_DURATION.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        parts = {unit: int(count) for unit, count in found.groupdict(default="0").items()}
        return timedelta(**parts) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError(
            f"{_quoted(text)} is no duration: give whole numbers with w, d, h, m, s or ms, like "
            "5m, 2h30m or 500ms, or ISO 8601 like PT5M."
        ) from None


class Duration(int):
    """Whole milliseconds that print as people write them."""

    @classmethod
    def of(cls, text: str) -> Duration:
        """Raises ValueError; see ``parse_duration``."""
        return cls(parse_duration(text))

    def __str__(self) -> str:
        return duration_text(self)


def duration_text(duration_ms: int) -> str:
    """A duration as ``parse_duration`` reads it: 90000 is 1m30s, 0 is 0s."""
    text = ""
    for unit, size_ms in _UNITS_MS.items():
        count, duration_ms = divmod(duration_ms, size_ms)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def iso_time(epoch_ms: int) -> str | None:
    """ISO 8601 in UTC to the millisecond; None for what no calendar date can say.

    Other clients may write any 64-bit number as a schedule's time.
    """
    try:
        moment = _EPOCH + _MILLISECOND * epoch_ms
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_text(epoch_ms: int) -> str:
    """A time as ``parse_time`` reads it: in digits, or where these say none, before 1970, ISO."""
    return str(epoch_ms) if epoch_ms >= 0 else iso_time(epoch_ms) or str(epoch_ms)


def _epoch_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND  # in whole numbers: floats round


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
