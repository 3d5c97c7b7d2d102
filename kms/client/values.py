"""What a program gives, as it is written: times, durations, bytes. Raises RequestError."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from kms import times
from kms.errors import RequestError
from kms.schedule import Header
from kms.topics import check_topic_name

Text = str | bytes  # a str is sent as UTF-8
When = datetime | int

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_ms_of(when: When, what: str) -> int:
    """Epoch ms of a time; the next whole one of a datetime that is finer, for none is early."""
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise RequestError(
                f"{what} is {when.isoformat()} without a time zone: give an aware datetime, like "
                "datetime.now(timezone.utc) or with tzinfo=ZoneInfo('Europe/London')."
            )
        return -((_EPOCH - when) // _MILLISECOND)
    if isinstance(when, bool) or not isinstance(when, int):
        raise RequestError(
            f"{what} is {when!r}: give an aware datetime, or whole milliseconds since 1970."
        )
    if not times.LEAST_MS <= when <= times.MOST_MS:
        raise RequestError(f"{what} is {_shown(when)}, which has more than 64 bits.")
    return when


def duration_ms_of(duration: timedelta | float, what: str) -> int:
    """Milliseconds of a timedelta, or of seconds; the next whole one."""
    try:
        if isinstance(duration, bool):
            raise TypeError
        found = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    except (TypeError, ValueError, OverflowError):  # NaN and infinity, too
        raise RequestError(f"{what} is {_shown(duration)}: give seconds, or a timedelta.") from None
    if found < timedelta(0):
        raise RequestError(f"{what} is {duration!r}, which is less than nothing.")
    whole, rest = divmod(found, _MILLISECOND)
    return whole + bool(rest)


def id_of(schedule_id: Text) -> bytes:
    """A schedule id as the record's key."""
    found = bytes_of(schedule_id, "id")
    if not found:
        raise RequestError("id is empty: a schedule id has at least one character.")
    return found


def topic_of(name: str, what: str) -> str:
    """The name, if Kafka allows it for a topic."""
    if not isinstance(name, str):
        raise RequestError(f"{what} is a {type(name).__name__}: give a str.")
    try:
        return check_topic_name(name)
    except ValueError as error:
        raise RequestError(f"{what} {error}") from None


def headers_of(headers: Mapping[str, Text] | None) -> tuple[Header, ...]:
    """The headers of a message; None is none."""
    if headers is None:
        return ()
    if not isinstance(headers, Mapping):
        raise RequestError(f"headers is a {type(headers).__name__}: give a dict.")
    return tuple(
        (_header_name(name), bytes_of(value, f"header {name!r}")) for name, value in headers.items()
    )


def zone_of(timezone: str | ZoneInfo) -> bytes:
    """The IANA name of a time zone, which is known when it is read."""
    name = timezone.key if isinstance(timezone, ZoneInfo) else timezone
    if not isinstance(name, str):  # a ZoneInfo of a file has none
        raise RequestError(f"timezone is {timezone!r}: give an IANA name, or a ZoneInfo of one.")
    return utf8(name, "timezone")


def count_of(count: int) -> bytes:
    """How many times."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= times.MOST_MS:
        raise RequestError(f"count is {_shown(count)}: give a whole number, 1 or more.")
    return b"%d" % count


def bytes_of(value: Text | None, what: str) -> bytes | None:
    """UTF-8 of a str, and bytes as they are."""
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RequestError(f"{what} is a {type(value).__name__}: give bytes, or a str.")
    return utf8(value, what)


def utf8(text: str, what: str) -> bytes:
    """What has to be text."""
    if not isinstance(text, str):
        raise RequestError(f"{what} is a {type(text).__name__}: give a str.")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{what} holds half a character, which UTF-8 can't say.") from None


def _shown(value: object) -> str:
    """What was given; Python itself refuses to write a number of more than 4,300 digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _header_name(name: str) -> str:
    utf8(name, f"the header name {name!r}")
    if "\0" in name:
        raise RequestError(f"the header name {name!r} holds a NUL, which would cut it.")
    return name
