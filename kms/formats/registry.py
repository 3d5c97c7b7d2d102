"""Avro schedules in Confluent's wire format: their schemas are in a registry."""

from __future__ import annotations

import struct
from typing import Any

from kms.errors import FormatError, RegistryAwayError
from kms.formats.avro import fields_of, schema_json
from kms.formats.awaited import AwaitedSchemas
from kms.formats.format import Body
from kms.formats.resolution import Resolution
from kms.formats.schemas import Schemas
from kms.schedule import Schedule, Written

_PREFIX = struct.Struct(">bi")  # the magic byte, 0, and the schema's id


class Registry:
    """Of one topic. The writer's schema is resolved against that of ``Avro``.

    Reading raises RegistryAwayError while the schema is not known yet; ask again. Writing takes
    the newest schema of the subject TOPIC-value, and registers ours where there is none.
    """

    def __init__(self, topic: str, schemas: Schemas | AwaitedSchemas | None = None) -> None:
        self._subject = f"{topic}-value"
        self._schemas = schemas

    def decode(self, record: Written) -> Schedule:
        found = self._read(record)
        headers = tuple(found["headers"].items())
        return Schedule(found["time"], found["topic"], found["key"], found["value"], headers)

    def due_of(self, record: Written) -> int:
        due_ms: int = self._read(record)["time"]
        return due_ms

    def encode(self, schedule: Schedule) -> Body:
        """Waits for the registry; raises RegistryAwayError if that does not answer."""
        fields = fields_of(schedule)
        if self._schemas is None:
            raise RegistryAwayError("no schema registry is asked here")
        schema_id, texts = self._schemas.source.to_write(self._subject, schema_json())
        return Body(_PREFIX.pack(0, schema_id) + Resolution(schema_id, texts).write(fields))

    def _read(self, record: Written) -> dict[str, Any]:
        value = record.value or b""
        magic, schema_id = _PREFIX.unpack_from(value) if len(value) >= _PREFIX.size else (-1, -1)
        if magic != 0 or schema_id < 0:
            raise FormatError("it does not begin with a 0 and a schema's id of 4 bytes")
        if self._schemas is None:
            raise FormatError(f"its schema {schema_id} is in the registry, which is not asked")
        resolution = self._schemas.resolution(schema_id, record.written_ms)
        return resolution.read(value[_PREFIX.size :])
