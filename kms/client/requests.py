"""What a program asks for as the record to write."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from kms import times
from kms.client.asked import Asked, Recurring, given
from kms.client.values import (
    Text,
    When,
    bytes_of,
    count_of,
    duration_ms_of,
    epoch_ms_of,
    headers_of,
    id_of,
    topic_of,
    utf8,
    zone_of,
)
from kms.errors import BadHeaderError, FormatError, RequestError
from kms.formats import FORMATS, AwaitedSchemas, Format, SchemaSource, formats_of
from kms.kind_texts import own_words
from kms.kinds import COUNT, CRON, EVERY, EXPIRES, LEAST_EVERY_MS, MISSED, TIMEZONE, UNTIL, WINDOW
from kms.schedule import Header, Record, Schedule

FormatName = Literal["avro", "json", "headers", "registry"]


class Entry(NamedTuple):
    """A record to write on the schedule topic; ``value`` None is a cancel."""

    id: bytes
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Requests:
    """Makes the records of one schedule topic. Raises RequestError with a sentence.

    With ``source``, a schema registry, a call may wait for that, and raise RegistryAwayError.
    """

    def __init__(self, topic: str, form: str, source: SchemaSource | None = None) -> None:
        self.topic = topic_of(topic, "The schedule topic")
        if form not in FORMATS:
            raise RequestError(f"{form!r} is no format: there are {', '.join(FORMATS)}.")
        self._name = form
        self._source = source
        self._form = formats_of({topic: form})[topic]

    @property
    def may_wait(self) -> bool:
        """Whether a registry is asked."""
        return self._source is not None

    def form(self) -> Format:
        """The topic's format, for what one thread does at once."""
        if self._source is None:
            return self._form
        # Which schemas it could not get it remembers: a later call shall ask again.
        schemas = AwaitedSchemas(self._source)
        return formats_of({self.topic: self._name}, schemas)[self.topic]

    def close(self) -> None:
        """Ask no registry any more."""
        if self._source is not None:
            self._source.close()

    def at(self, when: When, asked: Asked) -> Entry:
        """Once, at a time."""
        return self._entry(epoch_ms_of(when, "when"), given("at", asked, Asked))

    def after(self, delay: timedelta | float, asked: Asked) -> Entry:
        """Once, so long from now."""
        due_ms = times.now_ms() + duration_ms_of(delay, "delay")
        if times.iso_time(due_ms) is None:
            raise RequestError(f"delay is {delay!r}: that is later than the year 9999.")
        return self._entry(due_ms, given("after", asked, Asked))

    def every(self, interval: timedelta | float, asked: Recurring) -> Entry:
        """Again and again, so long apart."""
        interval_ms = duration_ms_of(interval, "interval")
        if interval_ms < LEAST_EVERY_MS:
            raise RequestError(f"interval is {interval!r}, which is less than a second.")
        asked = given("every", asked, Recurring)
        first = asked.get("first")
        first_ms = times.now_ms() + interval_ms if first is None else epoch_ms_of(first, "first")
        kind = EVERY, times.duration_text(interval_ms).encode()
        return self._entry(first_ms, asked, kind, *_again(asked))

    def cron(self, expression: str, asked: Recurring) -> Entry:
        """Again and again, whenever a cron expression says."""
        asked = given("cron", asked, Recurring)
        first = asked.get("first")
        first_ms = times.now_ms() if first is None else epoch_ms_of(first, "first")
        kind = CRON, utf8(expression, "The cron expression")
        return self._entry(first_ms, asked, kind, *_again(asked))

    def cancel(self, schedule_id: Text) -> Entry:
        """No longer."""
        return Entry(id_of(schedule_id), None)

    def _entry(self, due_ms: int, asked: Asked, *again: Header) -> Entry:
        key = asked.get("key")
        schedule = Schedule(
            due_ms,
            topic_of(asked["to"], "The target topic, to,"),
            b"" if key is None and self._name != "headers" else bytes_of(key, "key"),
            bytes_of(asked.get("value"), "value"),
            headers_of(asked.get("headers")),
        )
        named, form = asked.get("id"), self.form()
        schedule_id = id_of(str(uuid.uuid4()) if named is None else named)
        try:
            body = form.encode(schedule)
            entry = Entry(schedule_id, body.value, (*body.headers, *again, *_kind(asked)))
            # As the service will read it: a wrong cron expression is refused here and now.
            form.due_of(Record(0, *entry, times.now_ms()))
        except BadHeaderError as error:
            raise RequestError(f"{own_words(error)}.") from error
        except FormatError as error:
            raise RequestError(f"This can't be written to {self.topic}: {error}.") from error
        return entry


def _kind(asked: Asked) -> Iterator[Header]:
    expires, window = asked.get("expires"), asked.get("window")
    if isinstance(expires, timedelta):
        yield EXPIRES, times.duration_text(duration_ms_of(expires, "expires")).encode()
    elif expires is not None:
        yield EXPIRES, times.time_text(epoch_ms_of(expires, "expires")).encode()
    if window is not None:
        yield WINDOW, times.duration_text(duration_ms_of(window, "window")).encode()


def _again(asked: Recurring) -> Iterator[Header]:
    timezone, until = asked.get("timezone"), asked.get("until")
    count, missed = asked.get("count"), asked.get("missed")
    if timezone is not None:
        yield TIMEZONE, zone_of(timezone)
    if until is not None:
        yield UNTIL, times.time_text(epoch_ms_of(until, "until")).encode()
    if count is not None:
        yield COUNT, count_of(count)
    if missed is not None:
        yield MISSED, utf8(missed, "missed")
