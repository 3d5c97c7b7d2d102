"""Records <-> schedules: one class a format, one table of their names. A topic has one format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kms.formats.avro import SCHEMA, Avro, schema_json
from kms.formats.format import Body, Format
from kms.formats.headers import Headers
from kms.formats.json import Json
from kms.formats.kinds import Kinds

__all__ = [
    "AVRO",
    "FORMATS",
    "SCHEMA",
    "USUAL",
    "Avro",
    "Body",
    "Format",
    "Headers",
    "Json",
    "Kinds",
    "formats_of",
    "schema_json",
]

AVRO = Avro()
USUAL = Kinds(AVRO)  # of a topic of which nothing else is known

# Each makes the format of the topic it is given.
FORMATS: Mapping[str, Callable[[str], Format]] = {
    "avro": lambda _topic: AVRO,
    "json": lambda _topic: Json(),
    "headers": Headers,
}


def formats_of(names: Mapping[str, str]) -> Mapping[str, Format]:
    """The format of each topic, out of the names of ``Settings.formats``, for all its kinds."""
    return {topic: Kinds(FORMATS[name](topic)) for topic, name in names.items()}
