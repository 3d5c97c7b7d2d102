"""Records <-> schedules: one class a format, one table of their names. A topic has one format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kms.formats.avro import SCHEMA, Avro, schema_json
from kms.formats.format import Body, Format
from kms.formats.headers import Headers
from kms.formats.json import Json
from kms.formats.registry import Registry
from kms.formats.schemas import Schemas, SchemaSource, Texts

__all__ = [
    "AVRO",
    "FORMATS",
    "SCHEMA",
    "Avro",
    "Body",
    "Format",
    "Headers",
    "Json",
    "Registry",
    "SchemaSource",
    "Schemas",
    "Texts",
    "formats_of",
    "schema_json",
]

AVRO = Avro()

# Each makes the format of the topic it is given, out of what is known of schemas.
FORMATS: Mapping[str, Callable[[str, Schemas | None], Format]] = {
    "avro": lambda _topic, _schemas: AVRO,
    "json": lambda _topic, _schemas: Json(),
    "headers": lambda topic, _schemas: Headers(topic),
    "registry": lambda topic, schemas: Registry(topic, _there(schemas)),
}


def formats_of(names: Mapping[str, str], schemas: Schemas | None = None) -> Mapping[str, Format]:
    """The format of each topic, out of the names of ``Settings.formats``.

    ``schemas`` may be left out where no topic is of a registry.
    """
    return {topic: FORMATS[name](topic, schemas) for topic, name in names.items()}


def _there(schemas: Schemas | None) -> Schemas:
    if schemas is None:
        raise ValueError("a topic of a registry needs its schemas")
    return schemas
