"""What a program asks for as the record to write: plain values, no I/O."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Required, TypedDict

from kms import times
from kms.errors import FormatError, RequestError
from kms.formats import FORMATS, formats_of
from kms.kinds import COUNT, CRON, EVERY, EXPIRES, LEAST_EVERY_MS, MISSED, TIMEZONE, UNTIL, WINDOW
from kms.schedule import Header, Record, Schedule
from kms.topics import check_topic_name

FormatName = Literal["avro", "json", "headers"]
Text = str | bytes  # a str is sent as UTF-8
When = datetime | int

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LEAST_MS, _MOST_MS = -(2**63), 2**63 - 1


class Asked(TypedDict, total=False):
    """The message, and the id of its schedule.

    ``to`` is the target topic. Without ``value`` it is null; without ``key`` the key is empty, or,
    where the format is ``headers``, there is none. ``id`` is the schedule's, a new UUID by default:
    what is pending under it is replaced. After ``expires``, a time or a timedelta after it is due,
    it is no longer sent. ``window`` (timedelta, or seconds) spreads many over the time after.
    """

    to: Required[str]
    key: Text | None
    value: Text | None
    headers: Mapping[str, Text]
    id: str
    expires: When | timedelta
    window: timedelta | float


class Recurring(Asked, total=False):
    """A message that is sent again and again: until a time, or so many times.

    ``first`` is the time before which none is sent, ``timezone`` an IANA name like Europe/London,
    for the cron expression. ``missed`` says how many of the occurrences that nobody was there to
    fire are made up for.
    """

    first: When
    until: When
    count: int
    timezone: str
    missed: Literal["all", "one", "none"]


# Without those of a registry, which the client does not ask.
FORMS = tuple(form for form in FORMATS if form != "registry")


class Entry(NamedTuple):
    """A record to write on the schedule topic; ``value`` None is a cancel."""

    id: bytes
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Requests:
    """Makes the records of one schedule topic. Raises RequestError with a sentence."""

    def __init__(self, topic: str, form: str) -> None:
        _check_topic("The schedule topic", topic)
        if form not in FORMS:
            raise RequestError(f"{form!r} is no format here: there are {', '.join(FORMS)}.")
        self.topic = topic
        self.form = formats_of({topic: form})[topic]
        self._has_key = form != "headers"

    def at(self, when: When, asked: Asked) -> Entry:
        """Once, at a time."""
        return self._entry(due_ms_of(when, "when"), asked)

    def after(self, delay: timedelta | float, asked: Asked) -> Entry:
        """Once, so long from now."""
        return self._entry(times.now_ms() + duration_ms_of(delay, "delay"), asked)

    def every(self, interval: timedelta | float, asked: Recurring) -> Entry:
        """Again and again, so long apart."""
        interval_ms = duration_ms_of(interval, "interval")
        if interval_ms < LEAST_EVERY_MS:
            raise RequestError(f"interval is {interval!r}, which is less than a second.")
        first_ms = due_ms_of(asked.get("first", times.now_ms() + interval_ms), "first")
        kind = EVERY, times.duration_text(interval_ms).encode()
        return self._entry(first_ms, asked, [kind, *_again(asked)])

    def cron(self, expression: str, asked: Recurring) -> Entry:
        """Again and again, whenever a cron expression says."""
        first_ms = due_ms_of(asked.get("first", times.now_ms()), "first")
        return self._entry(first_ms, asked, [(CRON, expression.encode()), *_again(asked)])

    def cancel(self, schedule_id: Text) -> Entry:
        """No longer."""
        return Entry(id_of(schedule_id), None)

    def _entry(self, due_ms: int, asked: Asked, kind: Iterable[Header] = ()) -> Entry:
        _check_topic("The target topic, to,", asked["to"])
        key = asked.get("key")
        schedule = Schedule(
            due_ms,
            asked["to"],
            b"" if key is None and self._has_key else _bytes(key, "key"),
            _bytes(asked.get("value"), "value"),
            _headers(asked.get("headers", {})),
        )
        schedule_id = id_of(asked.get("id", str(uuid.uuid4())))
        try:
            body = self.form.encode(schedule)
            entry = Entry(schedule_id, body.value, (*body.headers, *kind, *_kind(asked)))
            # As the service will read it: a wrong cron expression is refused here and now.
            self.form.due_of(Record(0, entry.id, entry.value, entry.headers))
        except FormatError as error:
            raise RequestError(f"This can't be written to {self.topic}: {error}.") from error
        return entry


def due_ms_of(when: When, what: str) -> int:
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
    if not _LEAST_MS <= when <= _MOST_MS:
        raise RequestError(f"{what} is {when}, which has more than 64 bits.")
    return when


def duration_ms_of(duration: timedelta | float, what: str) -> int:
    """Milliseconds of a timedelta, or of seconds."""
    try:
        found = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    except (TypeError, ValueError, OverflowError):  # NaN and infinity, too
        raise RequestError(f"{what} is {duration!r}: give seconds, or a timedelta.") from None
    if found < timedelta(0):
        raise RequestError(f"{what} is {duration!r}, which is less than nothing.")
    return -(-found // _MILLISECOND)


def id_of(schedule_id: Text) -> bytes:
    """A schedule id as the record's key."""
    found = _bytes(schedule_id, "id")
    if not found:
        raise RequestError("id is empty: a schedule id has at least one character.")
    return found


def _check_topic(what: str, name: str) -> None:
    try:
        check_topic_name(name)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{what} {error}") from None


def _headers(headers: Mapping[str, Text]) -> tuple[Header, ...]:
    return tuple((name, _bytes(value, f"header {name!r}")) for name, value in headers.items())


def _bytes(value: Text | None, what: str) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RequestError(f"{what} is a {type(value).__name__}: give bytes, or a str.")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{what} holds half a character, which UTF-8 can't say.") from None


def _kind(asked: Asked) -> Iterator[Header]:
    if "expires" in asked:
        expires = asked["expires"]
        if isinstance(expires, timedelta):
            yield EXPIRES, times.duration_text(duration_ms_of(expires, "expires")).encode()
        else:
            yield EXPIRES, b"%d" % due_ms_of(expires, "expires")
    if "window" in asked:
        yield WINDOW, times.duration_text(duration_ms_of(asked["window"], "window")).encode()


def _again(asked: Recurring) -> Iterator[Header]:
    if "timezone" in asked:
        yield TIMEZONE, asked["timezone"].encode()
    if "until" in asked:
        yield UNTIL, b"%d" % due_ms_of(asked["until"], "until")
    if "count" in asked:
        yield COUNT, b"%d" % asked["count"]
    if "missed" in asked:
        yield MISSED, asked["missed"].encode()
