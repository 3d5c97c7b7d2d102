"""The broker of a test run, to write to and read from."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from kms.formats import AVRO
from kms.schedule import Header, Schedule

DEADLINE_SECONDS = 60.0

T = TypeVar("T")


class Arrived(NamedTuple):
    """A message as a read_committed consumer saw it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int  # set by the broker on the target topics: when it was appended


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_for(what: str, look: Callable[[], T | None], seconds: float = DEADLINE_SECONDS) -> T:
    """Look until there is something (not None, not False); fail after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; last saw {found!r}")
        time.sleep(0.02)


class Cluster:
    """The broker of the test run; every name it gives out is fresh."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        quiet: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
        }
        self.admin = AdminClient(quiet)
        self._producer = ck.Producer({**quiet, "linger.ms": 5, "enable.idempotence": True})
        self._refused: list[str] = []

    def topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """A new target topic; message timestamps are the broker's."""
        config = {"message.timestamp.type": "LogAppendTime"} | _dotted(config)
        return self._create(name or f"target-{uuid.uuid4().hex[:8]}", partitions, config)

    def schedule_topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """A new compacted topic. Nothing is compacted unless the test asks for it."""
        config = {"cleanup.policy": "compact", "segment.ms": "86400000"} | _dotted(config)
        return self._create(name or f"schedules-{uuid.uuid4().hex[:8]}", partitions, config)

    def compacted_topic(
        self, partitions: int = 1, *, lag_ms: int = 0, retention_ms: int = 1_000
    ) -> str:
        """A schedule topic that is compacted all the time, and forgets tombstones soon."""
        return self.schedule_topic(
            partitions,
            segment_ms="1000",
            min_cleanable_dirty_ratio="0.0001",
            delete_retention_ms=str(retention_ms),
            min_compaction_lag_ms=str(lag_ms),
        )

    def write(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int = -1,
        headers: Sequence[Header] = (),
    ) -> None:
        """Queue a record; ``flush`` makes sure of all of them."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, self._delivered, headers=list(headers)
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def schedule(
        self,
        topic: str,
        schedule_id: bytes,
        schedule: Schedule,
        *,
        partition: int = -1,
        headers: Sequence[Header] = (),
    ) -> None:
        """Queue a schedule in Avro; ``headers`` are the record's."""
        value = AVRO.encode_value(schedule)
        self.write(topic, schedule_id, value, partition=partition, headers=headers)

    def flush(self) -> None:
        assert self._producer.flush(DEADLINE_SECONDS) == 0
        assert not self._refused, self._refused

    def read(self, topic: str, isolation: str = "read_committed") -> list[Arrived]:
        """All that is in a topic up to its last stable offset, by partition and offset."""
        return sorted(self._read(topic, isolation), key=lambda it: (it.partition, it.offset))

    def arrived(self, topic: str, count: int, seconds: float = DEADLINE_SECONDS) -> list[Arrived]:
        """Wait until at least ``count`` messages are in a topic; answers all of them."""

        def enough() -> list[Arrived] | None:
            found = self.read(topic)
            return found if len(found) >= count else None

        return wait_for(f"{count} messages in {topic}", enough, seconds)

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """The high watermark, control records included."""
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        try:
            where = ck.TopicPartition(topic, partition)
            return int(consumer.get_watermark_offsets(where, timeout=10)[1])
        finally:
            consumer.close()

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """The group's committed offset."""
        request = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, partition)])
        found = self.admin.list_consumer_group_offsets([request])[group].result()
        return int(found.topic_partitions[0].offset)

    def configure(self, topic: str, name: str, value: str) -> None:
        """Give a topic's setting another value."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([asked])[asked].result()

    def topic_id(self, topic: str) -> str:
        """What the cluster calls a topic, however often its name is used again."""
        asked = self.admin.describe_topics(ck.TopicCollection([topic]), request_timeout=10)
        return str(asked[topic].result().topic_id)

    def members(self, group: str) -> int:
        """How many members a group has."""
        return len(self.admin.describe_consumer_groups([group])[group].result().members)

    def _create(self, name: str, partitions: int, config: Mapping[str, str]) -> str:
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
        self.admin.create_topics([new])[name].result()
        wait_for(f"topic {name}", lambda: self._has_leaders(name, partitions))
        return name

    def _has_leaders(self, name: str, partitions: int) -> bool:
        found = self.admin.list_topics(name, timeout=10).topics[name]
        return found.error is None and len(found.partitions) == partitions

    def _delivered(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            self._refused.append(f"{message.topic()}: {error}")

    def _read(self, topic: str, isolation: str) -> Iterator[Arrived]:
        consumer = ck.Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unused",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([ck.TopicPartition(topic, number, 0) for number in partitions])
            open_partitions = set(partitions)
            while open_partitions:
                for message in consumer.consume(10_000, 0.05):
                    error = message.error()
                    if error is None:
                        yield _arrived(message)
                    elif error.code() == ck.KafkaError._PARTITION_EOF:
                        open_partitions.discard(message.partition())
                    else:
                        raise AssertionError(str(error))
        finally:
            consumer.close()


def _arrived(message: ck.Message) -> Arrived:
    return Arrived(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.headers() or [],  # type: ignore[arg-type]
        message.timestamp()[1],
    )


def _dotted(config: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in config.items()}
