"""sky-uk's Avro schedules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from kms.errors import FormatError
from kms.formats.format import Body
from kms.schedule import Schedule, Written

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


class Avro:
    """Avro's plain binary encoding, without a container or a registry's prefix.

    The field names and order are those of sky-uk's ``AvroSchedule``, so the bytes are the same.
    Its older form, without ``headers``, is read as well.
    """

    def __init__(self) -> None:
        fields = SCHEMA["fields"]
        self._schema = parse_schema(dict(SCHEMA))
        self._older_schema = parse_schema({**SCHEMA, "fields": fields[:-1]})

    def decode(self, record: Written) -> Schedule:
        return self.decode_value(record.value or b"")

    def due_of(self, record: Written) -> int:
        due_ms: int = self._read(record.value or b"")["time"]
        return due_ms

    def encode(self, schedule: Schedule) -> Body:
        return Body(self.encode_value(schedule))

    def decode_value(self, data: bytes) -> Schedule:
        """A record's value as a schedule; raises FormatError where it is not exactly one."""
        found = self._read(data)
        headers = tuple(found.get("headers", {}).items())
        return Schedule(found["time"], found["topic"], found["key"], found["value"], headers)

    def encode_value(self, schedule: Schedule) -> bytes:
        """A schedule as a record's value; raises FormatError if it can't be one."""
        found, out = fields_of(schedule), BytesIO()
        try:
            schemaless_writer(out, self._schema, found)
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"this schedule can't be written as Avro: {error}") from error
        return out.getvalue()

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            return _read_whole(data, self._schema)
        except FormatError as error:
            # The newer form asks for more bytes than the older one has, so the order is safe.
            try:
                return _read_whole(data, self._older_schema)
            except FormatError:
                raise error from None


def fields_of(schedule: Schedule) -> dict[str, Any]:
    """The values of the schema's fields; raises FormatError where they can't have them."""
    if schedule.key is None:
        raise FormatError("Avro's key can't be left out; it can be empty")
    headers = dict(schedule.headers)
    if len(headers) != len(schedule.headers):
        raise FormatError("Avro's map of headers holds each name once")
    return {
        "time": schedule.due_ms,
        "topic": schedule.topic,
        "key": schedule.key,
        "value": schedule.value,
        "headers": headers,
    }


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
