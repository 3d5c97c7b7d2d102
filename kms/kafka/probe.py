"""One message written on purpose, to see what only a write can tell."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import confluent_kafka as ck

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import transactional_config, writer_config
from kms.kafka.errors import kafka_errors, translated
from kms.settings import Settings
from kms.times import now_ms

_PURPOSE = "check"  # the service's own transactional id would fence the service
_HEADERS = [("kms-check", b"true")]


class Probed(NamedTuple):
    """Between which times of this machine (epoch ms) the broker had it, and its own time then.

    ``broker_ms`` is None where the topic keeps the writer's timestamps.
    """

    partition: int
    offset: int
    sent_ms: int
    acknowledged_ms: int
    broker_ms: int | None


class Probe:
    """Writes one message without key and value, as the service writes: in a transaction or not.

    Every step takes at most ``timeout_seconds``. Raises KafkaError where Kafka refuses,
    RetriableKafkaError where it does not answer in time.
    """

    def __init__(self, settings: Settings, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._is_transactional = settings.kms_delivery == "exactly-once"
        config = (
            transactional_config(settings, _PURPOSE)
            if self._is_transactional
            else writer_config(settings)
        )
        config |= {"delivery.report.only.error": False, "linger.ms": 0, "log_level": 0}
        if not self._is_transactional:
            config["message.timeout.ms"] = int(timeout_seconds * 1000)
        with kafka_errors("Creating the producer"):
            self._client = ck.Producer(config)

    def write(self, topic: str) -> Probed:
        """Write it, and commit it."""
        with kafka_errors(f"Looking up topic {topic}"):
            self._client.list_topics(topic, timeout=self._timeout)  # connects, too
        if not self._is_transactional:
            return self._produce(topic)
        with kafka_errors("Beginning a transaction"):
            self._client.init_transactions(self._timeout)
            self._client.begin_transaction()
        try:
            probed = self._produce(topic)
            with kafka_errors("Committing a transaction"):
                self._client.commit_transaction(self._timeout)
        except KafkaError:
            # Left open it would hold up the topic's readers until its timeout.
            with suppress(ck.KafkaException):
                self._client.abort_transaction(self._timeout)
            raise
        return probed

    def _produce(self, topic: str) -> Probed:
        reports: list[tuple[ck.KafkaError | None, ck.Message, int]] = []
        doing = f"Writing to topic {topic}"
        sent_ms = now_ms()
        with kafka_errors(doing):
            self._client.produce(
                topic,
                headers=list(_HEADERS),
                on_delivery=lambda error, message: reports.append((error, message, now_ms())),
            )
        self._client.flush(self._timeout + 1)
        if not reports:
            raise RetriableKafkaError(f"{doing} was not acknowledged in time")
        error, message, acknowledged_ms = reports[0]
        if error is not None:
            raise translated(error, doing)
        kind, stamp_ms = message.timestamp()
        return Probed(
            int(message.partition() or 0),
            int(message.offset() or 0),
            sent_ms,
            acknowledged_ms,
            stamp_ms if kind == ck.TIMESTAMP_LOG_APPEND_TIME else None,
        )
