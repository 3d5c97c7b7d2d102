"""Good and bad settings, and short ways to load them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st

from kms.errors import ExitCode, SettingsError
from kms.kafka_properties import variable_of_property
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_values import Limits
from kms.times import Duration, parse_duration

DEFAULTS: dict[str, object] = {
    "kafka_brokers": "localhost:9092",
    "schedule_topics": (),
    "json_schedule_topics": (),
    "header_schedule_topics": (),
    "registry_schedule_topics": (),
    "kms_schema_registry_url": None,
    "kms_schema_registry_user": None,
    "kms_schema_registry_password": None,
    "kms_schema_registry_ca": None,
    "consumer_group_id": "com.sky.kafka.scheduler",
    "security_protocol": "PLAINTEXT",
    "keystore_location": None,
    "keystore_password": None,
    "truststore_location": None,
    "truststore_password": None,
    "prometheus_scraping_endpoint_port": 9095,
    "kms_http_address": "0.0.0.0",
    "kms_http_pages": "all",
    "kms_http_token": None,
    "kms_cache": Path("kms.sqlite"),
    "kms_instance_id": None,
    "kms_delivery": "exactly-once",
    "kms_transaction_timeout_ms": 10_000,
    "kms_session_timeout_ms": 10_000,
    "kms_dead_letter_topic": None,
    "history_topic": None,
    "kms_rate_limits": Limits(),
    "kms_control_topic": "kms-control",
    "kms_retry_for": Duration(86_400_000),
    "kms_retry_pause": Duration(1_000),
    "kms_retry_longest_pause": Duration(60_000),
    "kms_log_level": "INFO",
    "kms_log_format": "text",
    "kafka": {},
}
# Fixed, because sky-uk's scheduler has them or because people have them in their deployments.
VARIABLES = {
    "kafka_brokers": "KAFKA_BROKERS",
    "schedule_topics": "SCHEDULE_TOPICS",
    "json_schedule_topics": "JSON_SCHEDULE_TOPICS",
    "header_schedule_topics": "HEADER_SCHEDULE_TOPICS",
    "registry_schedule_topics": "REGISTRY_SCHEDULE_TOPICS",
    "kms_schema_registry_url": "KMS_SCHEMA_REGISTRY_URL",
    "kms_schema_registry_user": "KMS_SCHEMA_REGISTRY_USER",
    "kms_schema_registry_password": "KMS_SCHEMA_REGISTRY_PASSWORD",
    "kms_schema_registry_ca": "KMS_SCHEMA_REGISTRY_CA",
    "consumer_group_id": "CONSUMER_GROUP_ID",
    "security_protocol": "SECURITY_PROTOCOL",
    "keystore_location": "KEYSTORE_LOCATION",
    "keystore_password": "KEYSTORE_PASSWORD",
    "truststore_location": "TRUSTSTORE_LOCATION",
    "truststore_password": "TRUSTSTORE_PASSWORD",
    "prometheus_scraping_endpoint_port": "PROMETHEUS_SCRAPING_ENDPOINT_PORT",
    "kms_http_address": "KMS_HTTP_ADDRESS",
    "kms_http_pages": "KMS_HTTP_PAGES",
    "kms_http_token": "KMS_HTTP_TOKEN",
    "kms_cache": "KMS_CACHE",
    "kms_instance_id": "KMS_INSTANCE_ID",
    "kms_delivery": "KMS_DELIVERY",
    "kms_transaction_timeout_ms": "KMS_TRANSACTION_TIMEOUT_MS",
    "kms_session_timeout_ms": "KMS_SESSION_TIMEOUT_MS",
    "kms_dead_letter_topic": "KMS_DEAD_LETTER_TOPIC",
    "history_topic": "HISTORY_TOPIC",
    "kms_rate_limits": "KMS_RATE_LIMITS",
    "kms_control_topic": "KMS_CONTROL_TOPIC",
    "kms_retry_for": "KMS_RETRY_FOR",
    "kms_retry_pause": "KMS_RETRY_PAUSE",
    "kms_retry_longest_pause": "KMS_RETRY_LONGEST_PAUSE",
    "kms_log_level": "KMS_LOG_LEVEL",
    "kms_log_format": "KMS_LOG_FORMAT",
}
SECRET_SETTINGS = (
    "keystore_password",
    "truststore_password",
    "kms_schema_registry_password",
    "kms_http_token",
)
PROPERTIES = (
    "client.id",
    "compression.type",
    "debug",
    "linger.ms",
    "sasl.mechanism",
    "sasl.username",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.assertion.private.key.file",
    "ssl.ca.location",
    "ssl.endpoint.identification.algorithm",
    "enable.sasl.oauthbearer.unsecure.jwt",
)
SECRETS = (
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.jaas.config",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "basic.auth.user.info",
)
SERVICE_LINKS = (
    "KAFKA_PORT",
    "KAFKA_PORT_9092_TCP",
    "KAFKA_PORT_9092_TCP_ADDR",
    "KAFKA_SERVICE_HOST",
    "KAFKA_SERVICE_PORT",
    "KAFKA_SERVICE_PORT_CLIENT",
    "KAFKA_UI_SERVICE_HOST",
    "KAFKA_UI_PORT_80_TCP_PROTO",
    "KAFKA_BROKERS_SERVICE_PORT",
)

NAMES = st.text("abcXYZ059._-", min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
PORTS = st.integers(1, 65535)
BROKERS = st.builds("{}:{}".format, st.sampled_from(["b1", "kafka.example", "[::1]"]), PORTS)


def numbers(low: int, high: int) -> st.SearchStrategy[tuple[str, object]]:
    return st.integers(low, high).map(lambda number: (str(number), number))


def one_of(*texts: str) -> st.SearchStrategy[tuple[str, object]]:
    spellings = [(text, text) for text in texts] + [(text.lower(), text) for text in texts]
    return st.sampled_from([*spellings, *((text.title(), text) for text in texts)])


DURATIONS = st.tuples(st.integers(1, 999), st.sampled_from(["ms", "s", "m", "h", "d"])).map(
    lambda parts: (f"{parts[0]}{parts[1]}", parse_duration(f"{parts[0]}{parts[1]}"))
)


def topics(start: str) -> st.SearchStrategy[tuple[str, object]]:
    """Some that no other setting names."""
    names = NAMES.map(lambda name: (start + name)[:249])
    return st.lists(names, min_size=1, max_size=4, unique=True).map(
        lambda parts: (", ".join(parts), tuple(parts))
    )


# For each setting: a text that may be given, and the value it stands for.
GOOD: dict[str, st.SearchStrategy[tuple[str, object]]] = {
    "kafka_brokers": st.lists(BROKERS, min_size=1, max_size=3).map(
        lambda parts: (" , ".join(parts), ",".join(parts))
    ),
    "schedule_topics": st.lists(NAMES, min_size=1, max_size=4, unique=True).map(
        lambda parts: (", ".join(parts), tuple(parts))
    ),
    "json_schedule_topics": topics("json."),
    "header_schedule_topics": topics("headers."),
    "registry_schedule_topics": topics("registry."),
    "kms_schema_registry_url": st.sampled_from(
        ["http://localhost:8081", "https://r.example/apis/ccompat/v7", "http://a:1,http://b:2"]
    ).map(lambda text: (text, text)),
    "kms_schema_registry_user": NAMES.map(lambda name: (name, name)),
    "kms_schema_registry_ca": NAMES.map(lambda name: (f"/tmp/{name}", Path(f"/tmp/{name}"))),
    "consumer_group_id": NAMES.map(lambda name: (name, name)),
    "security_protocol": one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "keystore_location": NAMES.map(lambda name: (f"/tmp/{name}", Path(f"/tmp/{name}"))),
    "truststore_location": NAMES.map(lambda name: (f"/tmp/{name}", Path(f"/tmp/{name}"))),
    "prometheus_scraping_endpoint_port": numbers(0, 65535),
    "kms_http_address": st.sampled_from(["127.0.0.1", "::", "fe80::1%eth0", "kms.example"]).map(
        lambda text: (text, text)
    ),
    "kms_http_pages": st.sampled_from(["all", "metrics", "Metrics"]).map(
        lambda text: (text, text.lower())
    ),
    "kms_cache": NAMES.map(lambda name: (f"/tmp/{name}", Path(f"/tmp/{name}"))),
    "kms_instance_id": NAMES.map(lambda name: (name, name)),
    "kms_delivery": st.sampled_from(["exactly-once", "at-least-once", "Exactly-Once"]).map(
        lambda text: (text, text.lower())
    ),
    "kms_transaction_timeout_ms": numbers(1_000, 900_000),
    "kms_session_timeout_ms": numbers(1_000, 300_000),
    "kms_dead_letter_topic": NAMES.map(lambda name: (f"dead.{name}"[:249], f"dead.{name}"[:249])),
    "history_topic": NAMES.map(lambda name: (f"past.{name}"[:249], f"past.{name}"[:249])),
    "kms_rate_limits": st.dictionaries(
        NAMES, st.integers(1, 10_000).map(lambda tenths: tenths / 10), min_size=1
    ).map(lambda limits: (str(Limits(limits)), Limits(limits))),
    "kms_control_topic": NAMES.map(lambda name: (f"control.{name}"[:249], f"control.{name}"[:249])),
    "kms_retry_for": DURATIONS,
    "kms_retry_pause": DURATIONS,
    "kms_retry_longest_pause": DURATIONS,
    "kms_log_level": one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    "kms_log_format": one_of("text", "json"),
}
BAD = (
    *(("kafka_brokers", text) for text in ("localhost", "a:0", "a:65536", "a:1;b:2", "a b:1", ",")),
    *(("kafka_brokers", text) for text in ("PLAINTEXT://a:1", "a:1,b", ":9092", "a:x")),
    *(("schedule_topics", text) for text in (",", "a b", "a,.", "..", "a,b,a", "x" * 250, "a/b")),
    ("json_schedule_topics", "a b"),
    ("history_topic", "a b"),
    ("header_schedule_topics", "a,a"),
    ("registry_schedule_topics", "a,a"),
    *(("kms_schema_registry_url", text) for text in ("localhost:8081", "ftp://a", "http://")),
    *(("kms_schema_registry_url", text) for text in ("http://a:b@c", "http://a,", "http://[")),
    ("kms_schema_registry_user", " "),
    ("kms_schema_registry_ca", "."),
    ("consumer_group_id", " "),
    *(("security_protocol", text) for text in ("TLS", "SASL", "SASL-SSL")),
    *(("prometheus_scraping_endpoint_port", text) for text in ("-1", "65536", "http", "1.5")),
    *(("kms_http_address", text) for text in ("a b", "http://x", "[::]", "1.2.3.4/8")),
    *(("kms_http_pages", text) for text in ("none", "page", "all,metrics")),
    ("keystore_location", "."),
    ("truststore_location", "."),
    ("kms_cache", "."),
    *(("kms_instance_id", text) for text in ("a b", "..", "a/b", "x" * 250, "a\tb")),
    *(("kms_delivery", text) for text in ("at-most-once", "exactly_once")),
    *(("kms_transaction_timeout_ms", text) for text in ("999", "900001", "10s")),
    *(("kms_session_timeout_ms", text) for text in ("999", "300001", "10 000")),
    *(("kms_dead_letter_topic", text) for text in ("a b", "..", "x" * 250)),
    *(("kms_retry_for", text) for text in ("1", "0s", "1y", "-1s", "1.5h")),
    *(
        ("kms_rate_limits", text)
        for text in ("a", "a=", "a=0", "a=-1", "a b=1", "a=1,a=2", "a=1e9")
    ),
    *(("kms_control_topic", text) for text in ("a b", "..", "x" * 250)),
    ("kms_retry_pause", "0ms"),
    ("kms_retry_longest_pause", "soon"),
    *(("kms_log_level", text) for text in ("TRACE", "30")),
    *(("kms_log_format", text) for text in ("xml", "1")),
)


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> Settings:
    """Loads with a file of this text, and never with the variables of the test run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kms.toml"
        if toml is not None:
            file.write_text(toml, encoding="utf-8")
            flags = {**(flags or {}), "config": str(file)}
        return load_settings(flags, environment or {})


def refusal(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, environment, toml)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def toml_of(values: Mapping[str, object], properties: Mapping[str, str] | None = None) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines.append("[kafka]")
    lines += [
        f"{json.dumps(name)} = {json.dumps(text)}" for name, text in (properties or {}).items()
    ]
    return "\n".join(lines)


def kafka_flags(properties: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in properties.items()]


def kafka_variables(properties: Mapping[str, str]) -> dict[str, str]:
    return {variable_of_property(name): text for name, text in properties.items()}
