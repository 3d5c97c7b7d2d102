"""Bytes <-> Schedule: one class a format, one table of their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Protocol, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from kms.errors import FormatError
from kms.schedule import Schedule

SCHEMA: Mapping[str, Any] = {
    "type": "record",
    "name": "Schedule",
    "fields": [
        {
            "name": "time",
            "type": "long",
            "doc": "The time to execute the Schedule, in epoch milliseconds.",
        },
        {"name": "topic", "type": "string", "doc": "The topic to send the Schedule to."},
        {"name": "key", "type": "bytes", "doc": "The key identifying the payload."},
        {
            "name": "value",
            "type": ["null", "bytes"],
            "doc": "The payload to be sent. null indicates a tombstone.",
        },
        {
            "name": "headers",
            "type": {"type": "map", "values": "bytes"},
            "doc": "Optional extra metadata to send with the payload.",
        },
    ],
}


class Format(Protocol):
    """How a schedule is written as the value of a record."""

    def decode(self, data: bytes) -> Schedule:
        """Read a whole value; raises FormatError where it is not exactly one schedule."""

    def encode(self, schedule: Schedule) -> bytes:
        """Write a schedule so that ``decode`` gives the same one back."""

    def due_of(self, data: bytes) -> int:
        """The due time in epoch ms; raises FormatError for whatever ``decode`` refuses."""


class Avro:
    """Avro's plain binary encoding, without a container or a registry's prefix.

    The field names and order are those of sky-uk's ``AvroSchedule``, so the bytes are the same.
    Its older form, without ``headers``, is read as well.
    """

    def __init__(self) -> None:
        fields = SCHEMA["fields"]
        self._schema = parse_schema(dict(SCHEMA))
        self._older_schema = parse_schema({**SCHEMA, "fields": fields[:-1]})

    def decode(self, data: bytes) -> Schedule:
        found = self._read(data)
        headers = tuple(found.get("headers", {}).items())
        return Schedule(found["time"], found["topic"], found["key"], found["value"], headers)

    def encode(self, schedule: Schedule) -> bytes:
        out = BytesIO()
        headers = dict(schedule.headers)
        if len(headers) != len(schedule.headers):
            raise FormatError("Avro's map of headers holds each name once")
        found = {
            "time": schedule.due_ms,
            "topic": schedule.topic,
            "key": schedule.key,
            "value": schedule.value,
            "headers": headers,
        }
        try:
            schemaless_writer(out, self._schema, found)
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"this schedule can't be written as Avro: {error}") from error
        return out.getvalue()

    def due_of(self, data: bytes) -> int:
        due_ms: int = self._read(data)["time"]
        return due_ms

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            return _read_whole(data, self._schema)
        except FormatError as error:
            # The newer form asks for more bytes than the older one has, so the order is safe.
            try:
                return _read_whole(data, self._older_schema)
            except FormatError:
                raise error from None


FORMATS: Mapping[str, Format] = {"avro": Avro()}


def schema_json() -> str:
    """The Avro schema as the text of a ``.avsc`` file."""
    return json.dumps(SCHEMA, indent=2) + "\n"


def _read_whole(data: bytes, schema: Any) -> dict[str, Any]:
    source = BytesIO(data)
    try:
        found = cast(dict[str, Any], schemaless_reader(source, schema, None))
    except Exception as error:
        # fastavro raises whatever the bytes lead it to: EOFError, IndexError, UnicodeDecodeError.
        raise FormatError(f"no Avro schedule ({type(error).__name__} {error})") from error
    if source.tell() != len(data):
        raise FormatError(f"{len(data) - source.tell()} bytes follow the Avro schedule")
    return found
