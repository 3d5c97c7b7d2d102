"""The types of settings that Python has no type for, and how each says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
)
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from kms.kafka_properties import KafkaProperties
from kms.times import Duration

_NAME_TEXT = "1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'"
# Kafka has one rule for the names of topics and of static members.
TOPIC_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
# The settings that name schedule topics, and the format of those topics.
FORMAT_OF: Mapping[str, str] = {
    "schedule_topics": "avro",
    "json_schedule_topics": "json",
    "header_schedule_topics": "headers",
    "registry_schedule_topics": "registry",
}
# Those that say how to reach the schema registry.
REGISTRY = tuple(f"kms_schema_registry_{each}" for each in ("url", "user", "password", "ca"))

_SHORTEST_TOKEN = 16
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
_HIGHEST_RATE = 1_000_000
_TOKEN = re.compile(rf"[!-~]{{{_SHORTEST_TOKEN},}}")
_BROKER = re.compile(r"(?:[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")


class Limits(dict[str, float]):
    """Messages a second by target topic; shown as it could be given."""

    def __str__(self) -> str:
        return ",".join(f"{topic}={rate:g}" for topic, rate in self.items())


@dataclass(frozen=True)
class Allowed:
    """In a field's metadata: what its value must be, as the end of a sentence."""

    text: str


def type_text(field: FieldInfo) -> str:
    """What a setting must be, as the end of "must be ...": for errors, help and the README."""
    limits: dict[str, object] = {}
    for item in field.metadata:
        if isinstance(item, Allowed):
            return item.text
        if isinstance(item, Ge):
            limits["from"] = item.ge
        if isinstance(item, Le):
            limits["to"] = item.le
    if get_origin(field.annotation) is Literal:
        *first, last = get_args(field.annotation)
        return f"{', '.join(first)} or {last}"
    if field.annotation is int:
        return " ".join(["a whole number", *(f"{word} {limit}" for word, limit in limits.items())])
    raise TypeError(f"give the type {field.annotation} an Allowed")


def text_of(value: object) -> str:
    """A setting's value as it could be given; "none" where there is none."""
    if not value and value != 0:
        return "none"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def is_secret_setting(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown, nor be given as a flag."""
    return SecretStr in get_args(field.annotation)


def quoted(value: object) -> str:
    """A value as part of one line, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _valid_brokers(value: str) -> str:
    brokers = [part.strip() for part in value.split(",") if part.strip()]
    if not brokers:
        raise ValueError("is empty")
    for broker in brokers:
        address = _BROKER.fullmatch(broker)
        if address is None or not 1 <= int(address[1]) <= 65535:
            raise ValueError(f"{quoted(broker)} is not")
    return ",".join(brokers)


def _valid_topics(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("is empty")
    for topic in value:
        if not TOPIC_NAME.fullmatch(topic):
            raise ValueError(f"{quoted(topic)} is not")
        if value.count(topic) > 1:
            raise ValueError(f"{quoted(topic)} is there twice")
    return value


def _valid_duration(value: object) -> Duration:
    try:
        duration = Duration.of(value.strip()) if isinstance(value, str) else value
    except ValueError:
        duration = None
    if not isinstance(duration, Duration) or duration == 0:
        raise ValueError(f"is {quoted(value)}")
    return duration


def _valid_limits(value: object) -> Limits:
    if isinstance(value, Limits):
        return value
    if not isinstance(value, str):
        raise ValueError("is something else")
    limits = Limits()
    for part in filter(None, (part.strip() for part in value.split(","))):
        topic, _, rate = part.partition("=")
        if not TOPIC_NAME.fullmatch(topic.strip()) or not _RATE.fullmatch(rate.strip()):
            raise ValueError(f"{quoted(part)} is not")
        if topic.strip() in limits:
            raise ValueError(f"{quoted(topic.strip())} is there twice")
        limits[topic.strip()] = float(rate)
        if not 0 < limits[topic.strip()] <= _HIGHEST_RATE:
            raise ValueError(f"{quoted(part)} is not")
    return limits


def _valid_name(value: str | None) -> str | None:
    return None if value is None else _valid_topic(value)


def _valid_topic(value: str) -> str:
    if not TOPIC_NAME.fullmatch(value):
        raise ValueError(f"is {quoted(value)}")
    return value


def _valid_token(value: SecretStr | None) -> SecretStr | None:
    # As a header can carry it, and too long to be guessed: nothing counts the attempts.
    if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError("is something else")
    return value


def _valid_urls(value: str | None) -> str | None:
    for url in (value or "").split(",") if value is not None else ():
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{quoted(url)} is none")
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a user, which has a setting of its own")
    return value


def _valid_file_path(value: Path) -> Path:
    if value == Path():  # also what an empty text gives
        raise ValueError("names none")
    return value


def _valid_properties(value: object) -> KafkaProperties:
    if isinstance(value, KafkaProperties):
        return value
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str | SecretStr) for text in value.values()
    ):
        raise ValueError("is something else")
    return KafkaProperties(value)


Brokers = Annotated[
    str,
    Allowed("host:port, or several of them, comma-separated"),
    AfterValidator(_valid_brokers),
]
Topics = Annotated[
    tuple[str, ...],
    NoDecode,
    Allowed(f"topic names ({_NAME_TEXT}), comma-separated and each once"),
    BeforeValidator(_split),
    AfterValidator(_valid_topics),
]
ControlTopic = Annotated[
    str, Allowed(f"a topic's name ({_NAME_TEXT})"), AfterValidator(_valid_topic)
]
TopicName = Annotated[
    str | None, Allowed(f"a topic's name ({_NAME_TEXT})"), AfterValidator(_valid_name)
]
DurationMs = Annotated[
    Duration,
    Allowed("a duration like 500ms, 30s, 5m, 2h30m or 1d"),
    PlainValidator(_valid_duration),
]
RateLimits = Annotated[
    Limits,
    NoDecode,
    Allowed("topic=messages a second, from 0.001 to 1000000, or several of them, comma-separated"),
    PlainValidator(_valid_limits),
    PlainSerializer(str),
]
InstanceId = Annotated[str | None, Allowed(_NAME_TEXT), AfterValidator(_valid_name)]
Secret = Annotated[
    SecretStr | None,
    Allowed("a text, or with _FILE behind the name the path of a file that holds it"),
]
HttpToken = Annotated[
    SecretStr | None,
    Allowed(
        f"at least {_SHORTEST_TOKEN} characters of ASCII without spaces, or with _FILE behind the "
        "name the path of a file that holds them"
    ),
    AfterValidator(_valid_token),
]
Address = Annotated[
    str, Allowed("an IP address or a host name"), Field(pattern=r"^[0-9a-zA-Z._:%-]+$")
]
Urls = Annotated[
    str | None,
    Allowed("a URL with http or https and no user, or several of them, comma-separated"),
    AfterValidator(_valid_urls),
]
Text = Annotated[str | None, Allowed("a text that is not empty"), Field(min_length=1)]
OptionalPath = Annotated[
    Path | None, Allowed("the path of a file"), AfterValidator(_valid_file_path)
]
FilePath = Annotated[Path, Allowed("the path of a file"), AfterValidator(_valid_file_path)]
SecurityProtocol = Annotated[
    Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)
]
Delivery = Annotated[Literal["exactly-once", "at-least-once"], BeforeValidator(_lower)]
HttpPages = Annotated[Literal["all", "metrics"], BeforeValidator(_lower)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lower)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
Properties = Annotated[
    KafkaProperties,
    NoDecode,
    Allowed("librdkafka's properties by name"),
    PlainValidator(_valid_properties),
    PlainSerializer(KafkaProperties.shown),
]
