"""sky-uk's JSON schedules."""

from __future__ import annotations

import base64
import binascii
import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from kms import times
from kms.errors import FormatError
from kms.formats.format import Body
from kms.schedule import Header, Schedule, Written

_LONGEST_NUMBER = 100  # as text
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,9})?", re.ASCII)


class Json:
    """``{"time": epoch ms, "topic", "key": base64, "value": base64 or null, "headers": {…}}``.

    As sky-uk's ``JsonSchedule`` with its circe decoder has it: ``value`` and ``headers`` may be
    left out or null, headers' values are base64, other fields are passed over, a time may be
    written as text. Unlike there, what is not base64 is refused and never sent cut.
    """

    def decode(self, record: Written) -> Schedule:
        found = _object(record.value or b"")
        topic, key = found.get("topic"), found.get("key")
        if not isinstance(topic, str):
            raise FormatError('the JSON has no text "topic"')
        _check_whole(topic, "topic")
        value = found.get("value")
        return Schedule(
            _time(found.get("time")),
            topic,
            _bytes(key, '"key"'),
            None if value is None else _bytes(value, '"value"'),
            _headers(found.get("headers")),
        )

    def due_of(self, record: Written) -> int:
        return self.decode(record).due_ms

    def encode(self, schedule: Schedule) -> Body:
        if schedule.key is None:
            raise FormatError("JSON's key can't be left out; it can be empty")
        headers = {name: _text(value, name) for name, value in schedule.headers}
        if len(headers) != len(schedule.headers):
            raise FormatError("JSON's headers hold each name once")
        found = {
            "time": schedule.due_ms,
            "topic": schedule.topic,
            "key": _base64(schedule.key),
            "value": None if schedule.value is None else _base64(schedule.value),
            "headers": headers,
        }
        return Body(json.dumps(found, separators=(",", ":")).encode())


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data.decode(), parse_constant=_no_json, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        # ValueError: no UTF-8, no JSON, or a number of more digits than Python reads.
        raise FormatError(f"no JSON ({error})") from error
    if not isinstance(found, dict):
        raise FormatError(f"the JSON is no object, but {type(found).__name__}")
    return found


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{text[:40]} is a number that nobody reads") from None


def _time(found: object) -> int:
    if isinstance(found, str) and len(found) <= _LONGEST_NUMBER and _NUMBER.fullmatch(found):
        found = Decimal(found)
    if not isinstance(found, int | Decimal) or isinstance(found, bool):
        raise FormatError('the JSON has no whole number "time"')
    if not times.LEAST_MS <= found <= times.MOST_MS:
        raise FormatError('the JSON\'s "time" has more than 64 bits')
    if found != int(found):
        raise FormatError('the JSON has no whole number "time"')
    return int(found)


def _headers(found: object) -> tuple[Header, ...]:
    if found is None:
        return ()
    if not isinstance(found, dict):
        raise FormatError('the JSON\'s "headers" is no object')
    for name in found:
        _check_whole(name, "name of a header")
    return tuple((name, _bytes(value, f"header {name!r}")) for name, value in found.items())


def _check_whole(text: str, what: str) -> None:
    """JSON can escape half a character, which nobody could write, show or store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError(f"the {what} in the JSON holds half a character") from None


def _bytes(found: object, what: str) -> bytes:
    """Java's basic decoder: no line breaks; the padding may be left out, but not half of it."""
    if not isinstance(found, str):
        raise FormatError(f"the JSON's {what} is no text")
    padding = "" if "=" in found else "=" * (-len(found) % 4)
    try:
        return base64.b64decode(found + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"the JSON's {what} is no base64 ({error})") from error


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(value: bytes | None, name: str) -> str:
    if value is None:
        raise FormatError(f"JSON can't have a null as the value of header {name!r}")
    return _base64(value)
