"""Every setting, once: name, type, default and help. A flag beats a variable beats the file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict

from kms.errors import SettingsError
from kms.kafka_properties import KafkaProperties
from kms.settings_sources import (
    EnvironmentSource,
    FileSource,
    FlagSource,
    Source,
    flag_of,
    given,
    owned_properties,
    sentence_start,
    variable_of,
)
from kms.settings_values import (
    Address,
    Allowed,
    Brokers,
    Delivery,
    DurationMs,
    FilePath,
    HttpPages,
    InstanceId,
    LogFormat,
    LogLevel,
    OptionalPath,
    Properties,
    Secret,
    SecurityProtocol,
    TopicName,
    Topics,
    quoted,
    text_of,
    type_text,
)
from kms.times import Duration


class Settings(BaseSettings):
    """What an instance runs with; frozen.

    ``load_settings`` makes one from flags, environment and file. ``Settings(name=value)`` takes
    what it is given and the defaults, and looks at nothing else.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        validate_default=False,
    )

    kafka_brokers: Brokers = Field(
        default="localhost:9092", description="The Kafka brokers to start from."
    )
    schedule_topics: Topics = Field(
        default=(), description="The topics that hold schedules. The service needs at least one."
    )
    consumer_group_id: Annotated[str, Allowed("a text that is not empty"), Field(min_length=1)] = (
        Field(
            default="com.sky.kafka.scheduler",
            description="The consumer group; its instances share the partitions among them.",
        )
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT", description="How to talk to the brokers."
    )
    keystore_location: OptionalPath = Field(
        default=None,
        description="The client certificate and its key, for SSL and SASL_SSL: PKCS12 or PEM.",
    )
    keystore_password: Secret = Field(
        default=None, description="The password of the keystore, or of the key in a PEM file."
    )
    truststore_location: OptionalPath = Field(
        default=None,
        description="The certificates to trust, for SSL and SASL_SSL: PKCS12 or PEM. Without it "
        "those of the system.",
    )
    truststore_password: Secret = Field(
        default=None, description="The password of a PKCS12 truststore."
    )
    prometheus_scraping_endpoint_port: int = Field(
        default=9095,
        ge=0,
        le=65535,
        description="The HTTP port of metrics, health and page; 0 takes a free one.",
    )
    kms_http_address: Address = Field(
        default="0.0.0.0",
        description="Where the HTTP port listens: 127.0.0.1 is this machine only, 0.0.0.0 every "
        "network, :: every network with IPv6.",
    )
    kms_http_pages: HttpPages = Field(
        default="all",
        description="What the HTTP port serves: all, or metrics for metrics and health alone, "
        "without the page and the JSON, which show what is scheduled to whoever can connect.",
    )
    kms_cache: FilePath = Field(
        default=Path("kms.sqlite"),
        description="The SQLite file that caches the pending schedules.",
    )
    kms_instance_id: InstanceId = Field(
        default=None,
        description="The identity of this instance, unique in its group: static member id and "
        "transactional id.",
    )
    kms_delivery: Delivery = Field(
        default="exactly-once",
        description="Fire with transactions, or without them where the cluster allows none.",
    )
    kms_transaction_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=900_000,
        description="How long a dead instance's transaction stays open, in ms.",
    )
    kms_session_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=300_000,
        description="How soon a dead instance's partitions move to another one, in ms. The "
        "brokers have a limit of their own, group.min.session.timeout.ms, by default 6000.",
    )
    kms_dead_letter_topic: TopicName = Field(
        default=None,
        description="Where schedules go that can't be fired: at once if nothing can heal them, "
        "else after KMS_RETRY_FOR. Without it they stay pending.",
    )
    kms_retry_for: DurationMs = Field(
        default=Duration.of("1d"),
        description="How long a schedule that its target topic refuses is tried again before it "
        "goes to the dead-letter topic.",
    )
    kms_retry_pause: DurationMs = Field(
        default=Duration.of("1s"),
        description="The pause after a schedule's first failed attempt; each further one is twice "
        "as long.",
    )
    kms_retry_longest_pause: DurationMs = Field(
        default=Duration.of("1m"), description="The longest pause between two attempts."
    )
    kms_log_level: LogLevel = Field(default="INFO", description="The lowest level to log.")
    kms_log_format: LogFormat = Field(
        default="text",
        description="How to log to stderr: for people, or one JSON object a line.",
    )
    kafka: Properties = Field(
        default=KafkaProperties({}),
        description="Any other property of librdkafka: KAFKA_SASL_MECHANISM sets sasl.mechanism. "
        "Secrets are no flags, which others could read; NAME_FILE reads one from a file.",
    )

    # Where each value came from, by setting, and by kafka.NAME for each of Kafka's properties.
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _ignored_variables: tuple[str, ...] = PrivateAttr(default=())

    def __init__(self, sources: Sequence[Source] = (), **values: Any) -> None:
        own = InitSettingsSource(type(self), values)
        super().__init__(_build_sources=((own, *sources), {}))
        self._origins = {name: origin for name, (_, origin) in given(sources).items()}
        self._ignored_variables = tuple(
            variable for source in sources for variable in source.ignored
        )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        if isinstance(value, bool):  # TOML's true would pass for the number 1
            raise ValueError(f"is {str(value).lower()}")
        return value

    @field_validator("kms_dead_letter_topic")
    @classmethod
    def _no_circle(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value in info.data.get("schedule_topics", ()):
            raise ValueError("it is one of the schedule topics, and dead letters would go round")
        return value

    def kafka_properties(self) -> dict[str, str]:
        """``kafka`` as a plain dict, which shows its secrets when printed: not to be logged."""
        return dict(self.kafka)

    def kafka_source(self, name: str) -> str:
        """Where a Kafka property came from, as part of a sentence.

        For example "the environment variable KAFKA_SASL_MECHANISM".
        """
        return self.source(f"kafka.{name}")

    def source(self, name: str) -> str:
        """Where a setting came from, in the same form; "the default" if nobody gave it."""
        return self._origins.get(name, "the default")

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """Environment variables that look as if they were meant for kms, and were passed over.

        Those are Kubernetes' service links, and names with KMS_ that are no setting.
        """
        return self._ignored_variables

    def shown(self) -> list[tuple[str, str, str]]:
        """Every setting as (name, value, source), then every Kafka property; secrets masked."""
        rows = [
            (name, text_of(getattr(self, name)), self.source(name))
            for name in type(self).model_fields
            if name != "kafka"
        ]
        rows += [
            (f"kafka.{name}", text, self.kafka_source(name))
            for name, text in sorted(self.kafka.shown().items())
        ]
        return rows


def load_settings(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    required: Collection[str] = (),
) -> Settings:
    """The settings from flags (by setting name; None is not given), environment and file.

    ``required`` names settings that have no default and are needed here. Raises one SettingsError
    with a line for each problem, which names the setting in the form in which it was given.
    """
    flags = dict(flags or {})
    environment = os.environ if environment is None else environment
    file_flag, file_variable = flags.pop("config", None), environment.get(variable_of("config"))
    problems: list[str] = []
    sources: list[Source] = [
        FlagSource(Settings, flags),
        EnvironmentSource(Settings, environment),
    ]
    try:
        if file_flag is not None:
            sources.append(FileSource(Settings, Path(str(file_flag)), "the flag --config"))
        elif file_variable:
            sources.append(FileSource(Settings, Path(file_variable), sources[1].origin("config")))
    except SettingsError as error:
        problems.append(str(error))
        required = ()  # what seems to be missing may be in the file
    origins = given(sources)
    problems += [problem for source in sources for problem in source.problems]
    problems += owned_properties(sources)
    problems += [_missing(name) for name in required if name not in origins]
    try:
        settings = Settings(sources)
    except ValidationError as error:
        problems += _sentences(error, origins)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _missing(name: str) -> str:
    return (
        f"{variable_of(name)} is missing: give it as that environment variable, as the flag "
        f"{flag_of(name)} or as the key {name} in the settings file; it must be "
        f"{type_text(Settings.model_fields[name])}."
    )


def _sentences(error: ValidationError, origins: Mapping[str, tuple[object, str]]) -> list[str]:
    sentences: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        value, origin = origins[name]
        field = Settings.model_fields.get(name)
        if field is None:
            alike = difflib.get_close_matches(name.lower(), Settings.model_fields, n=1)
            advice = f"; did you mean {alike[0]}?" if alike else "."
            sentence = f"{sentence_start(origin)} is no setting{advice}"
        else:
            reason = problem.get("ctx", {}).get("error", f"is {quoted(value)}")
            sentence = f"{sentence_start(origin)} must be {type_text(field)}, but {reason}."
        sentences.setdefault(name, sentence)  # a list in the file can have several bad parts
    return list(sentences.values())
