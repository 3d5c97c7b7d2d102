"""What kms knows of librdkafka's properties by name: their forms, their owner, the secret ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pydantic import SecretStr

VARIABLE_PREFIX = "KAFKA_"
MASK = "**********"

# The kms setting to use instead.
_SETTING_OF_PROPERTY = {
    "bootstrap.servers": "kafka_brokers",
    "metadata.broker.list": "kafka_brokers",
    "security.protocol": "security_protocol",
    "group.id": "consumer_group_id",
    "group.instance.id": "kms_instance_id",
    "transactional.id": "kms_instance_id",
    "transaction.timeout.ms": "kms_transaction_timeout_ms",
    "session.timeout.ms": "kms_session_timeout_ms",
}

_OWNED_PROPERTIES = frozenset(
    {
        # Another value of these would break "once", or the order in which the topic is folded.
        "acks",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "enable.partition.eof",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "isolation.level",
        "offset.store.method",
        "partition.assignment.strategy",
        "partitioner",
        "queuing.strategy",
        "request.required.acks",
        # How the client reports back to the code that uses it; most of these can't be text.
        "builtin.features",
        "default.topic.config",
        "default_topic_conf",
        "delivery.report.only.error",
        "enabled_events",
        "interceptors",
        "internal.termination.signal",
        "log.queue",
        "logger",
        "msg_order_cmp",
        "on_commit",
        "on_delivery",
        "opaque",
        "produce.offset.report",
        "ssl_ca",
        "ssl_certificate",
        "ssl_engine_callback_data",
        "ssl_key",
    }
)

_SECRET = re.compile(
    r"pass|secret|token|credential|jaas|pem$|private\.key|oauthbearer\.config|basic\.auth|ssl_key"
)
# These name a place, not what is there. A secret's name and ".file" is the place of a secret.
_PLACES = (".file", ".location", ".url")
# A property of librdkafka's own, which wants the path.
_NO_SECRET_FILE = "sasl.oauthbearer.assertion.private.key"
_PROPERTY_NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
# Kubernetes describes every service of the namespace by such variables. A service "kafka" gives
# KAFKA_PORT, one called "kafka-ui" gives KAFKA_UI_PORT. No librdkafka property has such a name.
_SERVICE_LINK = re.compile(
    r"KAFKA_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[A-Z0-9_]+)?)"
    # And these are for Kafka's own scripts, on a machine that has them.
    r"|KAFKA_(HOME|OPTS|HEAP_OPTS|JMX_OPTS|LOG4J_OPTS|GC_LOG_OPTS|JVM_PERFORMANCE_OPTS)"
)


class KafkaProperties(Mapping[str, str]):
    """Values by property name, to be handed to librdkafka as they are; can't be changed.

    Printed, it shows no secret. A dict made of it does. ``oauth_cb``, which no text can be, is
    apart: what confluent-kafka gets its tokens from.
    """

    def __init__(
        self,
        values: Mapping[str, str | SecretStr],
        oauth_cb: Callable[[str], object] | None = None,
    ) -> None:
        self.oauth_cb = oauth_cb
        self._values = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self.shown())

    def shown(self) -> dict[str, str]:
        """The same for people to read, secrets masked."""
        return {name: MASK if is_secret(name) else value for name, value in self.items()}


def variable_of_property(name: str) -> str:
    """The environment variable that sets a property: sasl.mechanism -> KAFKA_SASL_MECHANISM."""
    return VARIABLE_PREFIX + name.upper().replace(".", "_")


def property_of_variable(variable: str) -> str:
    """The property that an environment variable sets: KAFKA_SASL_MECHANISM -> sasl.mechanism."""
    return variable.removeprefix(VARIABLE_PREFIX).lower().replace("_", ".")


def is_service_link(variable: str) -> bool:
    """Whether Kubernetes made this variable to describe a service whose name starts with kafka."""
    return _SERVICE_LINK.fullmatch(variable) is not None


def is_property_name(name: str) -> bool:
    """Whether a text has the form of a property name; it may still be one that nobody knows."""
    return _PROPERTY_NAME.fullmatch(name) is not None


def is_secret(name: str) -> bool:
    """Whether the value of a property must never be shown.

    Rather too many than too few: certificates in PEM are public, but too long for a log line.
    """
    return _SECRET.search(name.lower()) is not None and not name.lower().endswith(_PLACES)


def may_come_from_file(name: str) -> bool:
    """Whether ``name.file`` is the path of a file that holds this property's value."""
    return is_secret(name) and name != _NO_SECRET_FILE


def is_owned(name: str) -> bool:
    """Whether kms itself decides on a property, so that nobody else may set it."""
    return name in _OWNED_PROPERTIES or name in _SETTING_OF_PROPERTY or name.endswith("_cb")


def setting_instead_of(name: str) -> str | None:
    """The kms setting that stands for an owned property, or None if there is nothing to set."""
    return _SETTING_OF_PROPERTY.get(name)


def flattened(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every property of a TOML table, nested tables as dotted names.

    ``"sasl.mechanism" = "PLAIN"`` and ``sasl.mechanism = "PLAIN"`` give the same; whoever writes
    both gets both, one after the other.
    """
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
