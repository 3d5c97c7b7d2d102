"""Reads topics from their beginning without a group: what a plain consumer gets to see."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import confluent_kafka as ck

from kms.errors import RetriableKafkaError
from kms.kafka.admin import Admin
from kms.kafka.config import common_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.headers import headers_of
from kms.kafka.offsets import Offsets
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.settings import Settings

_POLL_SECONDS = 0.1
_LIMIT = 1_000
_TIMEOUT_SECONDS = 20.0


class TailRecord(NamedTuple):
    """One committed record as it lies on its topic; ``timestamp_ms`` is when it was produced."""

    where: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class Tail:
    """A read_committed consumer of some topics, from the first record on.

    Of every partition, or of those in ``only``. It joins no group and commits nothing. ``ends``
    are the offsets at which the end of a partition was last reported; everything committed before
    them was delivered.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        only: Sequence[TopicPartition] | None = None,
    ) -> None:
        self.partitions = _partitions(settings, topics) if only is None else only
        self.ends: dict[TopicPartition, int] = {}
        config = common_config(settings) | {
            "group.id": "kms-tail",  # the client wants one; it is never joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 50,  # how long a fetch at the end of a partition takes
        }
        with kafka_errors("Creating the consumer"):
            self._client = ck.Consumer(config)
            self._client.assign(
                [ck.TopicPartition(*each, ck.OFFSET_BEGINNING) for each in self.partitions]
            )

    def poll(self, timeout_seconds: float) -> list[TailRecord]:
        """What came, as soon as there is something; nothing after the timeout."""
        first = self._client.poll(timeout_seconds)
        messages = [] if first is None else [first, *self._client.consume(_LIMIT, 0)]
        return [record for message in messages if (record := self._record(message)) is not None]

    def close(self) -> None:
        """Close the consumer."""
        self._client.close()

    def _record(self, message: ck.Message) -> TailRecord | None:
        where = TopicPartition(message.topic() or "", message.partition() or 0)
        offset = message.offset() or 0
        error = message.error()
        if error is None:
            _, timestamp_ms = message.timestamp()
            headers = tuple(headers_of(message))
            return TailRecord(where, offset, timestamp_ms, message.key(), message.value(), headers)
        if error.code() == ck.KafkaError._PARTITION_EOF:
            self.ends[where] = offset
            return None
        problem = translated(error, f"Reading {where}")
        if isinstance(problem, RetriableKafkaError):
            return None  # the client tries again by itself
        raise problem


def read_all(
    settings: Settings, topics: Iterable[str], timeout_seconds: float = _TIMEOUT_SECONDS
) -> list[TailRecord]:
    """Every committed record up to the end of the log as it is now, open transactions awaited.

    Raises RetriableKafkaError if that takes longer than the timeout.
    """
    return list(_read(settings, Tail(settings, topics), timeout_seconds))


def read_partition(
    settings: Settings, where: TopicPartition, timeout_seconds: float = _TIMEOUT_SECONDS
) -> Iterator[TailRecord]:
    """The same of one partition, record by record as they come."""
    return _read(settings, Tail(settings, (), [where]), timeout_seconds)


def _read(settings: Settings, tail: Tail, timeout_seconds: float) -> Iterator[TailRecord]:
    deadline = time.monotonic() + timeout_seconds
    offsets = Offsets(settings)
    try:
        watermarks = offsets.high_watermarks(tail.partitions)
        count = 0
        # The high watermark: reported ends stop at the last stable offset for as long as a
        # transaction's markers are on their way (design section 4).
        while left := [each for each, high in watermarks.items() if tail.ends.get(each, -1) < high]:
            if time.monotonic() > deadline:
                reason = "a transaction is open, or Kafka is out of reach"
                if count and any(where not in tail.ends for where in left):
                    reason = f"{count} records were, and there are more"
                raise RetriableKafkaError(
                    f"Not everything could be read within {timeout_seconds:g} s: {reason}."
                )
            for record in tail.poll(_POLL_SECONDS):
                count += 1
                yield record
    finally:
        tail.close()
        offsets.close()


def _partitions(settings: Settings, topics: Iterable[str]) -> list[TopicPartition]:
    found = []
    for name, info in Admin(settings).topics_patiently(topics).items():
        if info is None:
            raise RetriableKafkaError(f"Topic {name} does not exist.")
        found += [TopicPartition(name, number) for number in range(info.partitions)]
    return found
