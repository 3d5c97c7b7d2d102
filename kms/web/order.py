"""What ``POST /schedules`` asks for: a body that makes no sense raises a sentence."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, TypeVar

from kms import times
from kms.errors import BadHeaderError, FormatError, RegistryAwayError
from kms.formats import USUAL, Format
from kms.kind_texts import own_words
from kms.kinds import COUNT, CRON, EVERY, EXPIRES, MISSED, TIMEZONE, UNTIL, WINDOW
from kms.schedule import Header, Record, Schedule
from kms.topics import check_topic_name
from kms.web.question import QuestionError

LONGEST_ID = 500  # characters, so that its path is no longer than a request may be
NO_IDS = (".", "..")
LATEST_MS = 253_402_300_799_999  # the end of the year 9999, as ISO 8601 ends
NAMES = (
    *("to", "at", "in", "key", "key_base64", "value", "value_base64", "headers"),
    *("window", "expires", "cron", "every", "timezone", "until", "count", "missed"),
    *("id", "topic"),
)
MOST_COUNT = 10**15
T = TypeVar("T")


class Order(NamedTuple):
    """A schedule to be written; ``topic`` is the schedule topic, None if it is not said.

    ``kind`` are the record's headers that ask for a kind of schedule.
    """

    id: str
    topic: str | None
    schedule: Schedule
    kind: tuple[Header, ...]

    def record(self, topic: str, form: Format) -> tuple[Record, int]:
        """As that topic of this format has it, and when the service will see it due, epoch ms.

        That need not be the schedule's time: a format may have whole seconds only. Raises
        QuestionError for what can't be written, or would be written and then not be read, and
        RegistryAwayError.
        """
        try:
            body = form.encode(self.schedule)
            headers = (*body.headers, *self.kind)
            record = Record(0, self.id.encode(), body.value, headers)
            return record, self._due_ms(form, record)
        except BadHeaderError as error:
            raise QuestionError(f"{own_words(error)}.") from None
        except FormatError as error:
            raise QuestionError(f"This can't be written to {topic}: {error}.") from error

    def _due_ms(self, form: Format, record: Record) -> int:
        try:
            return form.due_of(record)
        except RegistryAwayError:
            # Nothing was read yet with the schema that it is written with; its times are Avro's.
            return USUAL.due_of(record._replace(value=USUAL.encode(self.schedule).value))


def ordered(body: bytes) -> Order:
    """The order of a request's body. Raises QuestionError."""
    found = _object(body)
    for name in found:
        if name not in NAMES:
            raise QuestionError(f"{name[:60]!a} is no field: there are {', '.join(NAMES)}.")
    if "to" not in found:
        raise QuestionError("to is missing: the topic to send the message to.")
    schedule = Schedule(
        _due_ms(found),
        _named(found, "to", _topic),
        _either(found, "key") or b"",
        _either(found, "value"),
        _headers(found),
    )
    schedule_id = _named(found, "id", _id) if "id" in found else str(uuid.uuid4())
    topic = _named(found, "topic", _topic) if "topic" in found else None
    kind = tuple((name, _named(found, each, read)) for each, name, read in _KINDS if each in found)
    return Order(schedule_id, topic, schedule, kind)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode(), parse_constant=_no_json, object_pairs_hook=_once)
    except (ValueError, RecursionError):  # ValueError: no UTF-8, no JSON, too many digits
        raise QuestionError("The body is no JSON in UTF-8, or has a name twice.") from None
    if not isinstance(found, dict):
        raise QuestionError("The body is no JSON object.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _named(found: dict[str, Any], name: str, read: Callable[[Any], T]) -> T:
    try:
        return read(found[name])
    except ValueError as error:
        raise QuestionError(f"{name}: {error}") from None


def _due_ms(found: dict[str, Any]) -> int:
    recurs = "cron" in found or "every" in found
    if ("at" in found and "in" in found) or not (recurs or "at" in found or "in" in found):
        raise QuestionError("Give one of at, a time, and in, a duration like 2h30m.")
    if "at" in found:
        return _named(found, "at", _time)
    if "in" not in found and "cron" in found:
        return times.now_ms()
    name = "in" if "in" in found else "every"
    due_ms = times.now_ms() + _named(found, name, _duration)
    if due_ms > LATEST_MS:
        raise QuestionError(f"{name}: that is later than the year 9999.")
    return due_ms


def _time(value: Any) -> int:
    if isinstance(value, str):
        try:
            aware = datetime.fromisoformat(value).utcoffset() is not None
        except ValueError:
            aware = False
        if not aware:
            raise ValueError("give ISO 8601 with Z or an offset, like 2030-01-31T12:00:00Z.")
        return times.parse_time(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON it is the same number
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LATEST_MS:
        raise ValueError("give milliseconds since 1970, to the year 9999, or ISO 8601.")
    return value


def _duration(value: Any) -> int:
    return times.parse_duration(_text(value))


def _topic(value: Any) -> str:
    return check_topic_name(_text(value))


def _id(value: Any) -> str:
    text = _text(value)
    if not 1 <= len(text) <= LONGEST_ID:
        raise ValueError(f"give 1 to {LONGEST_ID} characters.")
    if text in NO_IDS:
        raise ValueError(f"{text} at the end of a path is taken out of it by many clients.")
    return text


def _either(found: dict[str, Any], name: str) -> bytes | None:
    """Text, or base64 under another name; null and nothing are None."""
    encoded = f"{name}_base64"
    if name in found and encoded in found:
        raise QuestionError(f"{name} and {encoded} are both given: leave one out.")
    if found.get(encoded) is not None:
        return _named(found, encoded, _bytes)
    if found.get(name) is not None:
        return _named(found, name, _utf8)
    return None


def _headers(found: dict[str, Any]) -> tuple[Header, ...]:
    values = found.get("headers")
    if values is not None and not isinstance(values, dict):
        raise QuestionError("headers: give an object.")
    return tuple(
        (
            _named({"headers": name}, "headers", _header_name),
            _named({"headers": value}, "headers", _header_value),
        )
        for name, value in (values or {}).items()
    )


def _header_name(value: Any) -> str:
    if "\0" in _text(value):
        raise ValueError("a name holds a NUL, which would cut it.")
    return str(value)


def _header_value(value: Any) -> bytes:
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return _bytes(value["base64"])
    if not isinstance(value, str):
        raise ValueError('a value is a text, or {"base64": ...}.')
    return _utf8(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("give a text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half a character.") from None
    return value


def _utf8(value: Any) -> bytes:
    return _text(value).encode()


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise ValueError("it is no base64.") from None


def _count(value: Any) -> bytes:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_COUNT:
        raise ValueError(f"give a whole number from 1 to {MOST_COUNT}.")
    return b"%d" % value


def _moment(value: Any) -> bytes:
    return times.time_text(_time(value)).encode()


def _expires(value: Any) -> bytes:
    """A time, or how long after it is due."""
    if not isinstance(value, str):
        return _moment(value)
    try:
        times.parse_duration(_text(value))
    except ValueError:
        return _moment(value)
    return value.encode()


def _length(value: Any) -> bytes:
    return times.duration_text(_duration(value)).encode()


# The field, the header it becomes, and what reads it.
_KINDS: tuple[tuple[str, str, Callable[[Any], bytes]], ...] = (
    ("window", WINDOW, _length),
    ("expires", EXPIRES, _expires),
    ("cron", CRON, _utf8),
    ("every", EVERY, _length),
    ("timezone", TIMEZONE, _utf8),
    ("until", UNTIL, _moment),
    ("count", COUNT, _count),
    ("missed", MISSED, _utf8),
)
