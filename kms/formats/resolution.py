"""A writer's Avro schema resolved against ours: what it adds is left out, what it lacks is ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from kms.errors import FormatError
from kms.formats.avro import SCHEMA

# Code generators make a union with null of whatever may be left out.
_OPTIONAL: Mapping[str, Mapping[str, Any]] = {
    "value": {"default": None},
    "headers": {
        "type": ["null", {"type": "map", "values": ["null", "bytes"]}],
        "default": None,
    },
}


class Resolution:
    """Reads, and writes, with one writer's schema.

    Its record may have any name. ``value`` and ``headers`` may be missing or null, other fields
    be there. Raises FormatError if it can't be a schedule's schema.
    """

    def __init__(self, schema_id: int, texts: Sequence[str]) -> None:
        """``texts`` are JSON: the schema, behind those that it refers to."""
        named: dict[str, Any] = {}
        try:
            for text in texts:
                schema = json.loads(text)
                self._writer = parse_schema(_plain(schema), named_schemas=named)
            name = cast(Mapping[str, Any], self._writer)["name"]
            _check_time(schema)
            self._reader = parse_schema({**SCHEMA, "name": name, "fields": _fields()})
        except FormatError:
            raise
        except Exception as error:
            # fastavro raises whatever the schema leads it to.
            raise FormatError(
                f"schema {schema_id} is none of a schedule ({type(error).__name__} {error})"
            ) from error
        self._id = schema_id

    def read(self, data: bytes) -> dict[str, Any]:
        """The fields of ours; FormatError where the bytes are not exactly one schedule."""
        source = BytesIO(data)
        try:
            found = cast(dict[str, Any], schemaless_reader(source, self._writer, self._reader))
        except Exception as error:
            # As in Avro: whatever the bytes lead it to.
            raise FormatError(
                f"no schedule of schema {self._id} ({type(error).__name__} {error})"
            ) from error
        if source.tell() != len(data):
            raise FormatError(f"{len(data) - source.tell()} bytes follow the Avro schedule")
        return {**found, "headers": found["headers"] or {}}

    def write(self, fields: Mapping[str, Any]) -> bytes:
        """These fields as this schema has them; FormatError if it asks for others."""
        out = BytesIO()
        try:
            schemaless_writer(out, self._writer, fields)
        except Exception as error:
            raise FormatError(
                f"this schedule can't be written with schema {self._id}: {error}"
            ) from error
        found = self.read(out.getvalue())
        lost = [name for name, value in fields.items() if found[name] != value]
        if lost:
            raise FormatError(f"schema {self._id} has no room for the schedule's {lost[0]}")
        return out.getvalue()


def _fields() -> list[dict[str, Any]]:
    return [{**field, **_OPTIONAL.get(field["name"], {})} for field in SCHEMA["fields"]]


def _plain(schema: Any) -> Any:
    """Without logical types: a time is to be a number, and of the others nothing is wanted."""
    if isinstance(schema, Mapping):
        return {name: _plain(part) for name, part in schema.items() if name != "logicalType"}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


def _check_time(schema: Mapping[str, Any]) -> None:
    for kind in _logical_types([field for field in schema["fields"] if field["name"] == "time"]):
        if kind != "timestamp-millis":
            raise FormatError(f"its schema has the time as {kind}, not in milliseconds")


def _logical_types(schema: Any) -> Iterator[Any]:
    # Also those of a field, where Avro asks for none: who wrote one there meant the time.
    if isinstance(schema, list):
        for each in schema:
            yield from _logical_types(each)
    elif isinstance(schema, Mapping):
        if "logicalType" in schema:
            yield schema["logicalType"]
        yield from _logical_types(schema.get("type"))
