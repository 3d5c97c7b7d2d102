"""Every setting, once: name, type, default and help. A flag beats a variable beats the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from kms.kafka_properties import KafkaProperties
from kms.settings_sourced import SourcedSettings
from kms.settings_sources import (
    Source,
    variable_of,
)
from kms.settings_values import (
    FORMAT_OF,
    Address,
    Allowed,
    Brokers,
    ControlTopic,
    Delivery,
    DurationMs,
    FilePath,
    HttpPages,
    HttpToken,
    InstanceId,
    Limits,
    LogFormat,
    LogLevel,
    OptionalPath,
    Properties,
    RateLimits,
    Secret,
    SecurityProtocol,
    Text,
    TopicName,
    Topics,
    Urls,
    text_of,
)
from kms.times import Duration


class Settings(SourcedSettings):
    """What an instance runs with; frozen.

    ``kms.settings_loading`` makes one from flags, environment and file. ``Settings(name=value)``
    takes what it is given and the defaults, and looks at nothing else.
    """

    kafka_brokers: Brokers = Field(
        default="localhost:9092", description="The Kafka brokers to start from."
    )
    schedule_topics: Topics = Field(
        default=(),
        description="The topics that hold schedules in sky-uk's Avro. The service needs one at "
        "least, in this or another format.",
    )
    json_schedule_topics: Topics = Field(
        default=(), description="The topics that hold schedules in sky-uk's JSON."
    )
    header_schedule_topics: Topics = Field(
        default=(),
        description="The topics that hold schedules in etf1's form: in the records' headers.",
    )
    registry_schedule_topics: Topics = Field(
        default=(),
        description="The topics that hold schedules in Avro with the id of their schema in front, "
        "which KMS_SCHEMA_REGISTRY_URL knows.",
    )
    kms_schema_registry_url: Urls = Field(
        default=None, description="The schema registry, by the path of Confluent's API."
    )
    kms_schema_registry_user: Text = Field(
        default=None, description="The user to name to the schema registry."
    )
    kms_schema_registry_password: Secret = Field(
        default=None, description="The user's password there."
    )
    kms_schema_registry_ca: OptionalPath = Field(
        default=None,
        description="The certificates to trust there, in PEM. Without it those that Python brings.",
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
    kms_http_token: HttpToken = Field(
        default=None,
        description="With it, whoever sends it as Authorization: Bearer can schedule and cancel "
        "over the HTTP port; without it nobody can. The port has no TLS of its own.",
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
    history_topic: TopicName = Field(
        default=None,
        description="Where a copy of each fired message goes, in the same transaction, with "
        "headers that say which schedule it was.",
    )
    kms_rate_limits: RateLimits = Field(
        default=Limits(),
        description="How many messages a second go to a target topic at most: payments=500. What "
        "is due beyond that waits, and nothing waits for it. A group's instances share the limit "
        "as they share the partitions.",
    )
    kms_control_topic: ControlTopic = Field(
        default="kms-control",
        description="Where it is written which target topics are paused; pause makes it.",
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

    def __init__(self, sources: Sequence[Source] = (), **values: Any) -> None:
        super().__init__(sources, values)

    @field_validator("kms_dead_letter_topic", "history_topic", "kms_control_topic")
    @classmethod
    def _no_circle(cls, value: str | None, info: ValidationInfo) -> str | None:
        if any(value in info.data.get(name, ()) for name in FORMAT_OF):
            raise ValueError(
                "it is one of the schedule topics, and what is sent there would go round"
            )
        return value

    @field_validator("json_schedule_topics", "header_schedule_topics", "registry_schedule_topics")
    @classmethod
    def _one_format(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in FORMAT_OF:
            twice = sorted(set(value) & set(info.data.get(name, ())))
            if twice and name != info.field_name:
                raise ValueError(f"{twice[0]} is among {variable_of(name)} already")
        return value

    @property
    def topics(self) -> tuple[str, ...]:
        """Every schedule topic, whatever its format."""
        return tuple(self.formats)

    @property
    def formats(self) -> Mapping[str, str]:
        """The name of the format of every schedule topic."""
        return {topic: form for name, form in FORMAT_OF.items() for topic in getattr(self, name)}

    def kafka_properties(self) -> dict[str, str]:
        """``kafka`` as a plain dict, which shows its secrets when printed: not to be logged."""
        return dict(self.kafka)

    def kafka_source(self, name: str) -> str:
        """Where a Kafka property came from, as part of a sentence.

        For example "the environment variable KAFKA_SASL_MECHANISM".
        """
        return self.source(f"kafka.{name}")

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
