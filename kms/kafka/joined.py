"""Somebody else's producer, whose transaction what is written joins."""

from __future__ import annotations

from collections.abc import Sequence

import confluent_kafka as ck

from kms.errors import KafkaError
from kms.kafka.errors import kafka_errors
from kms.kafka.murmur2 import java_partition
from kms.kafka.values import TopicPartition
from kms.schedule import Header

Producer = ck.Producer

_LOOK_UP_SECONDS = 10.0
_FULL_SECONDS = 0.1


class JoinedWriter:
    """Only produces: who owns the producer begins, flushes, commits and aborts.

    A record goes where a Java producer would put its key, whatever the producer's partitioner:
    others write under the same id. How many partitions the topic has is looked up once.
    """

    def __init__(self, producer: Producer) -> None:
        self._client = producer
        self._partitions: dict[str, int] = {}

    def produce(
        self, topic: str, key: bytes, value: bytes | None, headers: Sequence[Header] = ()
    ) -> TopicPartition:
        """Queue a record; answers its partition. KafkaError if it is refused at once.

        What is refused later makes the owner's commit fail.
        """
        if topic not in self._partitions:
            self._partitions[topic] = self._count(topic)
        where = TopicPartition(topic, java_partition(key, self._partitions[topic]))
        while True:
            try:
                with kafka_errors(f"Producing to {topic}"):
                    self._client.produce(topic, value, key, where.partition, headers=list(headers))
                return where
            except BufferError:
                self._client.poll(_FULL_SECONDS)

    def _count(self, topic: str) -> int:
        # All topics, because to ask for one by its name may create it, with a configuration that
        # loses schedules.
        with kafka_errors(f"Looking up topic {topic}"):
            found = self._client.list_topics(timeout=_LOOK_UP_SECONDS).topics
        if topic not in found or not found[topic].partitions:
            raise KafkaError(
                f"The schedule topic {topic} does not exist: python kms.py topics create {topic}"
            )
        return len(found[topic].partitions)
