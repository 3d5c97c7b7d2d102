"""A writer's schema against ours, and what is known of a registry's schemas."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest
from pydantic import SecretStr

from kms.errors import FormatError, SettingsError
from kms.formats import Avro, schema_json
from kms.formats.resolution import Resolution
from kms.registry import schemas_of
from kms.schedule import Schedule
from kms.settings import Settings

TIME = {"name": "time", "type": "long"}
TOPIC = {"name": "topic", "type": "string"}
KEY = {"name": "key", "type": "bytes"}
VALUE = {"name": "value", "type": ["null", "bytes"]}
HEADERS = {"name": "headers", "type": {"type": "map", "values": "bytes"}}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
FIELDS: dict[str, Any] = {"time": 5, "topic": "t", "key": b"k", "value": b"v", "headers": {}}


def record(*fields: Any, name: str = "any.Name") -> str:
    return json.dumps({"type": "record", "name": name, "fields": fields})


def written(schema: str, fields: dict[str, Any]) -> bytes:
    out = BytesIO()
    avro.io.DatumWriter(avro.schema.parse(schema)).write(fields, avro.io.BinaryEncoder(out))
    return out.getvalue()


def test_our_own_schema_gives_the_bytes_of_plain_avro() -> None:
    schedule = Schedule(5, "t", b"k", None, (("h", b"1"),))
    fields = {"time": 5, "topic": "t", "key": b"k", "value": None, "headers": {"h": b"1"}}
    ours = Resolution(1, [schema_json()])
    assert ours.write(fields) == Avro().encode_value(schedule)
    assert ours.read(Avro().encode_value(schedule)) == fields


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ((TIME, TOPIC, KEY), {"value": None, "headers": {}}),
        ((KEY, TOPIC, TIME, VALUE), {"value": b"v", "headers": {}}),
        ((TIME, TOPIC, KEY, HEADERS), {"value": None, "headers": {}}),
        (({"name": "more", "type": "int", "default": 1}, TIME, TOPIC, KEY, VALUE, HEADERS), {}),
        (({"name": "time", "type": "int"}, TOPIC, KEY, VALUE, HEADERS), {}),
        ((TIME, TOPIC, KEY, {"name": "value", "type": "bytes"}, HEADERS), {}),
    ],
)
def test_what_is_missing_defaults_and_what_is_more_is_left_out(
    fields: tuple[dict[str, Any], ...], missing: dict[str, Any]
) -> None:
    schema = record(*fields)
    names = {field["name"] for field in fields}
    data = {name: value for name, value in FIELDS.items() if name in names} | (
        {"more": 7} if "more" in names else {}
    )
    assert Resolution(1, [schema]).read(written(schema, data)) == FIELDS | missing


@pytest.mark.parametrize("key", ["string", ["null", "string"], ["string", "bytes"]])
def test_a_key_and_a_value_of_text(key: Any) -> None:
    schema = record(TIME, TOPIC, {**KEY, "type": key}, {**VALUE, "type": ["null", "string"]})
    data = written(schema, {"time": 5, "topic": "t", "key": "kä", "value": "vä"})
    found = Resolution(1, [schema]).read(data)
    assert (found["key"], found["value"]) == ("kä".encode(), "vä".encode())


def headers_of(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


# As Java's generator has it.
TEXT = {"type": "string", "avro.java.string": "String"}


@pytest.mark.parametrize(
    ("kind", "headers", "expected"),
    [
        (["null", headers_of("bytes")], None, {}),
        ([headers_of("bytes"), "null"], None, {}),
        (["null", headers_of("bytes")], {"a": b"1"}, {"a": b"1"}),
        (headers_of(["null", "bytes"]), {"a": None, "b": b"1"}, {"a": None, "b": b"1"}),
        (["null", headers_of(["bytes", "null"])], {"a": None}, {"a": None}),
        (headers_of("string"), {"a": "ä"}, {"a": "ä".encode()}),
        (headers_of(TEXT), {"a": "1"}, {"a": b"1"}),
        (["null", headers_of(["null", TEXT])], {"a": None, "b": "1"}, {"a": None, "b": b"1"}),
        (["null", headers_of(["null", TEXT])], None, {}),
    ],
)
def test_optional_headers(
    kind: Any, headers: dict[str, Any] | None, expected: dict[str, bytes | None]
) -> None:
    schema = record(TIME, TOPIC, KEY, VALUE, {"name": "headers", "type": kind})
    data = written(schema, FIELDS | {"headers": headers})
    assert Resolution(1, [schema]).read(data) == FIELDS | {"headers": expected}


def test_headers_that_are_no_bytes() -> None:
    schema = record(TIME, TOPIC, KEY, {"name": "headers", "type": headers_of("int")})
    data = written(schema, {"time": 5, "topic": "t", "key": b"k", "headers": {"a": 1}})
    with pytest.raises(FormatError):
        Resolution(1, [schema]).read(data)


def test_optional_headers_are_written() -> None:
    kind = ["null", headers_of(["null", "bytes"])]
    schema = record(TIME, TOPIC, KEY, VALUE, {"name": "headers", "type": kind})
    for headers in ({}, {"a": None, "b": b"1"}):
        data = Resolution(1, [schema]).write(FIELDS | {"headers": headers})
        assert Resolution(1, [schema]).read(data)["headers"] == headers
    for fields in ((), (HEADERS,)):
        with pytest.raises(FormatError):
            Resolution(1, [record(TIME, TOPIC, KEY, VALUE, *fields)]).write(
                FIELDS | {"headers": {"a": None}}
            )


def test_schemas_that_refer_to_others() -> None:
    owner = record(TOPIC, name="com.acme.Owner")
    schema = record({"name": "owner", "type": "com.acme.Owner"}, TIME, TOPIC, KEY)
    named = json.loads(schema)
    named["fields"][0]["type"] = json.loads(owner)
    fields = {"owner": {"topic": "x"}, "time": 5, "topic": "t", "key": b"k"}
    data = written(json.dumps(named), fields)
    assert Resolution(1, [owner, schema]).read(data)["time"] == 5


@pytest.mark.parametrize(
    "schema",
    [
        "no JSON",
        "[]",
        '"string"',
        '["null", "string"]',
        record({"name": "a", "type": "unknown.Type"}),
        record({**TIME, "type": MICROS}, TOPIC, KEY),
        record({**TIME, "type": ["null", MICROS]}, TOPIC, KEY),
        record({**TIME, "type": [MICROS, "null"]}, TOPIC, KEY),
        record({**TIME, "logicalType": "timestamp-micros"}, TOPIC, KEY),
        json.dumps({"type": "enum", "name": "E", "symbols": ["A"]}),
    ],
)
def test_what_is_no_schema_of_a_schedule(schema: str) -> None:
    with pytest.raises(FormatError):
        Resolution(1, [schema])


def test_an_optional_time_in_milliseconds() -> None:
    schema = record({**TIME, "type": ["null", MILLIS]}, TOPIC, KEY, VALUE, HEADERS)
    ours = Resolution(1, [schema])
    assert ours.read(ours.write(FIELDS)) == FIELDS
    with pytest.raises(FormatError, match="schema mismatch"):
        ours.read(written(schema, FIELDS | {"time": None}))


@pytest.mark.parametrize("fields", [(TOPIC, KEY), (TIME, KEY), (TIME, TOPIC)])
def test_what_a_schedule_needs(fields: tuple[dict[str, Any], ...]) -> None:
    schema = record(*fields)
    with pytest.raises(FormatError):
        Resolution(1, [schema]).read(
            written(schema, {each["name"]: FIELDS[each["name"]] for each in fields})
        )


def test_a_schema_that_has_no_room_for_it() -> None:
    small = Resolution(1, [record(TIME, TOPIC, KEY)])
    assert small.write(FIELDS | {"value": None})
    with pytest.raises(FormatError, match="no room for the schedule's value"):
        small.write(FIELDS)
    with pytest.raises(FormatError, match="can't be written with schema 1"):
        Resolution(1, [record(TIME, TOPIC, KEY, {"name": "more", "type": "int"})]).write(FIELDS)


def test_settings_that_are_of_no_use() -> None:
    def refused(**values: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            schemas_of(Settings(registry_schedule_topics=("a",), **values))
        return str(caught.value)

    url, secret = "http://localhost:1", SecretStr("x")
    assert "KMS_SCHEMA_REGISTRY_URL must say" in refused()
    alone = refused(kms_schema_registry_url=url, kms_schema_registry_password=secret)
    assert "of no use without KMS_SCHEMA_REGISTRY_USER" in alone
    wrong = refused(kms_schema_registry_url=url, kms_schema_registry_ca=Path(__file__))
    assert "holds no certificates" in wrong
    assert schemas_of(Settings(schedule_topics=("a",))) is None
