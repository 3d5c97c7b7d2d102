"""Whether the cluster lets kms in, and what it lets it do: asked before anything starts.

librdkafka takes a wrong password and a certificate that nobody trusts for a network that may heal,
and tries again for ever. Here they are what they are: an error, and the end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator

import confluent_kafka as ck
from confluent_kafka.admin import AclOperation, AdminClient

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import Outages, common_config
from kms.kafka.errors import translated
from kms.settings import Settings

_LOOK_SECONDS = 1.0  # how long a stop may have to wait
_REFUSED_SECONDS = 2.0  # all the time: another broker may still let us in
_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_ADVICE = "docs/security.md has the commands that allow it"

_log = logging.getLogger(__name__)


def check_access(settings: Settings, stopping: threading.Event) -> None:
    """Return once the cluster has answered and allows what is needed, or ``stopping`` is set.

    Waits for as long as the cluster is out of reach. Raises KafkaError where it lets nobody in
    with these credentials, or where an ACL is missing, which it names.
    """
    door = _Door(settings)
    said = False
    while not door.opens():
        if stopping.wait(_PAUSE_SECONDS):
            return
    while not stopping.is_set():
        try:
            missing = [
                *_missing_of_topics(door.client, settings),
                *_missing_of_group(door.client, settings),
            ]
        except RetriableKafkaError as error:
            if not said:
                _log.warning("%s; trying again.", error)
            said = True
            stopping.wait(_PAUSE_SECONDS)
            continue
        if missing:
            raise KafkaError(f"Kafka does not allow kms {', '.join(missing)}: {_ADVICE}.")
        return


class _Door:
    """A client's first connection."""

    def __init__(self, settings: Settings) -> None:
        self._outages = Outages()
        self._refused_since = self._refused_at = 0.0
        self._reason = ""
        self.client = AdminClient(common_config(settings) | {"error_cb": self._note})

    def opens(self) -> bool:
        """Whether a broker answered within a second; raises KafkaError if all refuse us."""
        try:
            self.client.list_topics(timeout=_LOOK_SECONDS)
        except ck.KafkaException as error:
            self.client.poll(0)  # calls _note
            if self._refused_at - self._refused_since < _REFUSED_SECONDS:
                return False
            raise KafkaError(self._reason) from error
        return True

    def _note(self, error: ck.KafkaError) -> None:
        reason = _refusal(error)
        if reason is None:
            self._outages(error)
            return
        now = time.monotonic()
        if now - self._refused_at > 2 * _REFUSED_SECONDS:
            self._refused_since = now  # the last time is so long ago that it may have healed
        self._refused_at, self._reason = now, reason


def _refusal(error: ck.KafkaError) -> str | None:
    """The sentence for an error that waiting does not heal."""
    text = error.str()
    if error.code() == ck.KafkaError._AUTHENTICATION:
        return (
            f"Kafka does not let kms in: {text}. Check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME "
            "and KAFKA_SASL_PASSWORD."
        )
    if error.code() == ck.KafkaError._SSL:
        return (
            f"kms does not trust the brokers: {text}. Check TRUSTSTORE_LOCATION (or "
            "KAFKA_SSL_CA_LOCATION), and that KAFKA_BROKERS has the host names of their "
            "certificates."
        )
    # With TLS 1.3 the broker's refusal arrives after the handshake, as a failed read.
    if error.code() == ck.KafkaError._TRANSPORT and "alert" in text:
        return (
            f"Kafka does not accept the client certificate: {text}. Check KEYSTORE_LOCATION (or "
            "KAFKA_SSL_CERTIFICATE_LOCATION)."
        )
    return None


def _missing_of_topics(client: AdminClient, settings: Settings) -> Iterator[str]:
    asked = client.describe_topics(
        ck.TopicCollection(list(settings.schedule_topics)),
        include_authorized_operations=True,
        request_timeout=_TIMEOUT_SECONDS,
    )
    for topic, future in asked.items():
        allowed: Collection[AclOperation] | None = ()
        try:
            allowed = future.result().authorized_operations
        except ck.KafkaException as error:
            code = error.args[0].code()
            if code == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # the consumer waits for it
            if code != ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise translated(error.args[0], f"Looking up topic {topic}") from error
        for operation in (AclOperation.READ, AclOperation.WRITE):
            if allowed is not None and operation not in allowed:
                yield f"{operation.name} on topic {topic}"


def _missing_of_group(client: AdminClient, settings: Settings) -> Iterator[str]:
    group = settings.consumer_group_id
    asked = client.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=_TIMEOUT_SECONDS
    )
    allowed: Collection[AclOperation] | None = ()
    try:
        allowed = asked[group].result().authorized_operations
    except ck.KafkaException as error:
        code = error.args[0].code()
        if code == ck.KafkaError.GROUP_ID_NOT_FOUND:
            return  # who may not see a group is told so, there or not
        if code != ck.KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise translated(error.args[0], f"Looking up group {group}") from error
    if allowed is not None and AclOperation.READ not in allowed:
        yield f"READ on group {group}"
