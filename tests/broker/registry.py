"""Writers of schedules with a registry, none of them kms: of other versions and other names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import avro.io
import avro.schema
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TIME = {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}}
TOPIC = {"name": "topic", "type": "string"}
KEY = {"name": "key", "type": "bytes"}
VALUE = {"name": "value", "type": ["null", "bytes"]}
HEADERS = {"name": "headers", "type": {"type": "map", "values": "bytes"}}


def schema_of(name: str, *fields: Mapping[str, Any]) -> str:
    return json.dumps({"type": "record", "name": name, "fields": fields})


# What a team makes of the schedule's schema: its own name, more fields, in another order.
LARGER = schema_of(
    "com.acme.Reminder",
    {"name": "owner", "type": {"type": "record", "name": "Owner", "fields": [TOPIC]}},
    TOPIC,
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4}},
    VALUE,
    HEADERS,
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    KEY,
    TIME,
)
SMALLER = schema_of("Schedule", TIME, TOPIC, {"name": "key", "type": "string"})
# As code generators have it: whatever may be left out is a union with null.
OPTIONAL = schema_of(
    "com.acme.Optional",
    {**TIME, "type": ["null", TIME["type"]]},
    TOPIC,
    {"name": "key", "type": ["null", "string"]},
    {"name": "value", "type": ["null", "string"]},
    {"name": "headers", "type": ["null", {"type": "map", "values": ["null", "bytes"]}]},
)
WHOLE = schema_of("com.sky.Schedule", TIME, TOPIC, KEY, VALUE, HEADERS)


class Writers:
    """Encoders beside a client of the registry."""

    def __init__(self, url: str) -> None:
        self.client = SchemaRegistryClient({"url": url})

    def register(self, topic: str, schema: str, kind: str = "AVRO") -> int:
        return self.client.register_schema(f"{topic}-value", Schema(schema, kind))

    def by_serializer(
        self, schedule_topic: str, schema: str | Schema, fields: Mapping[str, Any]
    ) -> bytes:
        """By Confluent's own serializer, which registers the schema."""
        serializer = AvroSerializer(self.client, schema)
        context = SerializationContext(schedule_topic, MessageField.VALUE)
        data: bytes = serializer(fields, context)
        return data

    def by_hand(self, schema_id: int, schema: str, fields: Mapping[str, Any]) -> bytes:
        """By the avro package, with the prefix as Confluent's documentation has it."""
        out = BytesIO()
        avro.io.DatumWriter(avro.schema.parse(schema)).write(fields, avro.io.BinaryEncoder(out))
        return b"\x00" + schema_id.to_bytes(4, "big") + out.getvalue()
