"""Look-ups: topics and their configuration, watermarks, committed offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from kms.errors import RetriableKafkaError
from kms.kafka.config import common_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.values import TopicPartition
from kms.settings import Settings

_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.05


class TopicInfo(NamedTuple):
    """A topic that exists; ``id`` changes when it is deleted and made again."""

    name: str
    id: str
    partitions: int


class Admin:
    """The cluster's administration API; every call waits for its answer at most 10 seconds.

    Raises RetriableKafkaError where the cluster is out of reach, KafkaError where it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = AdminClient(common_config(settings))

    def cluster_id(self) -> str:
        """The id of the cluster, the same from every broker of it."""
        with kafka_errors("Asking for the cluster id"):
            found = self._client.list_topics(timeout=_TIMEOUT_SECONDS).cluster_id
        return str(found)

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        """What there is under these names; None where there is no such topic."""
        asked = self._client.describe_topics(
            ck.TopicCollection(list(names)), request_timeout=_TIMEOUT_SECONDS
        )
        found: dict[str, TopicInfo | None] = {}
        for name, future in asked.items():
            try:
                info = future.result()
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translated(error.args[0], f"Looking up topic {name}") from error
                found[name] = None
            else:
                found[name] = TopicInfo(name, str(info.topic_id), len(info.partitions))
        return found

    def watermarks(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """The first offset and the high watermark of each, whatever transactions are open."""
        partitions = list(partitions)
        low = _resolved(self._start_offsets(partitions, OffsetSpec.earliest(), False))
        high = _resolved(self._start_offsets(partitions, OffsetSpec.latest(), False))
        return {partition: (low[partition], high[partition]) for partition in partitions}

    def start_ends(
        self, partitions: Iterable[TopicPartition], *, committed_only: bool = True
    ) -> dict[TopicPartition, Future[Any]]:
        """Ask for the end of each partition without waiting: the last stable offset, or, with
        ``committed_only`` False, the high watermark.
        """
        return self._start_offsets(partitions, OffsetSpec.latest(), committed_only)

    def start_committed(self, group: str, partitions: Iterable[TopicPartition]) -> Future[Any]:
        """Ask for a group's committed offsets, stable ones only, without waiting (KIP-447)."""
        request = ck.ConsumerGroupTopicPartitions(
            group, [ck.TopicPartition(*partition) for partition in partitions]
        )
        asked: dict[str, Future[Any]] = self._client.list_consumer_group_offsets(
            [request], require_stable=True, request_timeout=_TIMEOUT_SECONDS
        )
        return asked[group]

    def config(self, topic: str) -> dict[str, str]:
        """The topic's configuration, defaults included."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        asked = self._client.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS)
        with kafka_errors(f"Reading the configuration of topic {topic}"):
            entries = asked[resource].result()
        return {name: str(entry.value) for name, entry in entries.items()}

    def create_topic(
        self, name: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        """Create a topic; False if it is there already. -1 stands for the broker's default."""
        new = NewTopic(
            name, num_partitions=partitions, replication_factor=replication, config=dict(config)
        )
        try:
            self._client.create_topics([new], operation_timeout=_TIMEOUT_SECONDS)[name].result()
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise translated(error.args[0], f"Creating topic {name}") from error
        return True

    def _start_offsets(
        self, partitions: Iterable[TopicPartition], spec: OffsetSpec, committed_only: bool
    ) -> dict[TopicPartition, Future[Any]]:
        wanted = {ck.TopicPartition(*partition): spec for partition in partitions}
        if not wanted:
            return {}
        level = ck.IsolationLevel.READ_UNCOMMITTED
        if committed_only:
            level = ck.IsolationLevel.READ_COMMITTED
        asked = self._client.list_offsets(
            wanted, isolation_level=level, request_timeout=_TIMEOUT_SECONDS
        )
        return {TopicPartition(tp.topic, tp.partition): future for tp, future in asked.items()}


class StableEnds:
    """Finds up to where newly assigned partitions must be folded before they may fire.

    First the group's committed offsets, stable ones only: that answer waits until what a former
    owner left open has ended. Then the high watermark, which lies behind everything that owner
    wrote (design section 4). ``check`` never waits.
    """

    def __init__(self, admin: Admin, group: str, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        self._admin = admin
        self._group = group
        self._committed: Future[Any] | None = admin.start_committed(group, self.partitions)
        self._ends: dict[TopicPartition, Future[Any]] | None = None
        self._again_at = 0.0

    def check(self) -> dict[TopicPartition, int] | None:
        """The offset to fold up to of each partition, or None while it is not known yet.

        Raises KafkaError where the cluster refuses; what can heal is asked again.
        """
        try:
            return self._check()
        except RetriableKafkaError:
            self._committed = self._ends = None
            self._again_at = time.monotonic() + _PAUSE_SECONDS
            return None

    def _check(self) -> dict[TopicPartition, int] | None:
        if self._ends is not None:
            if not all(future.done() for future in self._ends.values()):
                return None
            return _resolved(self._ends)
        if self._committed is None:
            if time.monotonic() >= self._again_at:
                self._committed = self._admin.start_committed(self._group, self.partitions)
            return None
        if self._committed.done():
            with kafka_errors("Waiting for stable offsets of the group"):
                found = self._committed.result()
            for partition in found.topic_partitions:
                if partition.error is not None:
                    raise translated(partition.error, "Waiting for stable offsets of the group")
            self._ends = self._admin.start_ends(self.partitions, committed_only=False)
        return None


def _resolved(asked: Mapping[TopicPartition, Future[Any]]) -> dict[TopicPartition, int]:
    found = {}
    for partition, future in asked.items():
        try:
            found[partition] = int(future.result().offset)
        except ck.KafkaException as error:
            doing = f"Asking for the offsets of {partition}"
            # The partition's leader may be moving, or the topic only just made.
            if error.args[0].code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise RetriableKafkaError(f"{doing} failed: {error.args[0].str()}") from error
            raise translated(error.args[0], doing) from error
    return found
