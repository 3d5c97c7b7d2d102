"""Records <-> schedules: one class a format, one table of their names. A topic has one format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kms.formats.avro import SCHEMA, Avro, schema_json
from kms.formats.awaited import AwaitedSchemas
from kms.formats.format import Body, Format
from kms.formats.headers import Headers
from kms.formats.in_time import InTime
from kms.formats.json import Json
from kms.formats.kinds import Kinds
from kms.formats.registry import Registry
from kms.formats.schemas import Schemas, SchemaSource, Texts

__all__ = [
    "AVRO",
    "FORMATS",
    "SCHEMA",
    "USUAL",
    "Avro",
    "AwaitedSchemas",
    "Body",
    "Format",
    "Headers",
    "InTime",
    "Json",
    "Kinds",
    "Registry",
    "SchemaSource",
    "Schemas",
    "Texts",
    "formats_of",
    "schema_json",
]

AVRO = Avro()
USUAL = Kinds(AVRO)  # of a topic of which nothing else is known

# Each makes the format of the topic it is given, with what is known of schemas.
FORMATS: Mapping[str, Callable[..., Format]] = {
    "avro": lambda _topic, _schemas=None: AVRO,
    "json": lambda _topic, _schemas=None: Json(),
    "headers": lambda topic, _schemas=None: Headers(topic),
    "registry": Registry,
}


def formats_of(
    names: Mapping[str, str], schemas: Schemas | AwaitedSchemas | None = None
) -> Mapping[str, Format]:
    """The format of each topic, out of the names of ``Settings.formats``, for all its kinds.

    Without ``schemas`` nothing can be read of the topics of a registry.
    """
    return {topic: Kinds(FORMATS[name](topic, schemas)) for topic, name in names.items()}
