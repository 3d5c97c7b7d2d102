"""A producer for people's commands: one record at a time, answered with where it is."""

from __future__ import annotations

from collections.abc import Sequence

import confluent_kafka as ck

from kms.errors import RetriableKafkaError
from kms.kafka.config import writer_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.settings import Settings

_TIMEOUT_SECONDS = 20.0
_ANY_PARTITION = -1


class Sender:
    """Writes single records and waits for their acknowledgement, at most 20 seconds each.

    Without a partition a record goes where a Java producer would put its key. Raises
    UndeliverableError or KafkaError where Kafka refuses, RetriableKafkaError where it is out of
    reach.
    """

    def __init__(self, settings: Settings) -> None:
        config = writer_config(settings) | {
            "delivery.report.only.error": False,  # the partition is in the report
            "message.timeout.ms": int(_TIMEOUT_SECONDS * 1000),
            "linger.ms": 0,
        }
        with kafka_errors("Creating the producer"):
            self._client = ck.Producer(config)

    def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> TopicPartition:
        """Write one record; answers the partition that it is on."""
        reports: list[tuple[ck.KafkaError | None, ck.Message]] = []
        doing = f"Writing to {topic}"
        with kafka_errors(doing):
            self._client.produce(
                topic,
                value,
                key,
                partition,
                lambda *report: reports.append(report),
                headers=list(headers),
            )
        # The report of a message that timed out comes a moment after its time.
        self._client.flush(_TIMEOUT_SECONDS + 5)
        if not reports:
            raise RetriableKafkaError(
                f"{doing} was not acknowledged in time; it may have been written all the same."
            )
        error, message = reports[0]
        if error is not None:
            raise translated(error, doing)
        return TopicPartition(topic, int(message.partition() or 0))
