"""What sky-uk's kafka-message-scheduler writes to its topics, and how it reads them.

Read out of its source, versions 0.27.0 and 1.0.1, and put down here by rules of its own: nothing of
kms's code is used. Records are encoded by the avro package.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import avro.io
import avro.schema
import confluent_kafka as ck

from tests.broker.cluster import DEADLINE_SECONDS, Arrived, Cluster

# kafka/avro/AvroSchedule.scala: the schema that its Codec derives.
_FIELDS: list[dict[str, Any]] = [
    {"name": "time", "type": "long"},
    {"name": "topic", "type": "string"},
    {"name": "key", "type": "bytes"},
    {"name": "value", "type": ["null", "bytes"]},
    {"name": "headers", "type": {"type": "map", "values": "bytes"}},
]
_EXPIRED = "schedule:expired"

Fired = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


class OldSchedule(NamedTuple):
    """``headers`` None is the older form of the record, without that field."""

    time: int
    topic: str
    key: bytes
    value: bytes | None
    headers: dict[str, bytes] | None

    def encoded(self) -> bytes:
        """The record's value as its Avro codec writes it."""
        fields = _FIELDS if self.headers is not None else _FIELDS[:-1]
        schema = {"type": "record", "name": "AvroSchedule", "fields": fields}
        out = io.BytesIO()
        writer = avro.io.DatumWriter(avro.schema.parse(json.dumps(schema)))
        datum = {each["name"]: getattr(self, each["name"]) for each in fields}
        writer.write(datum, avro.io.BinaryEncoder(out))
        return out.getvalue()

    def message(self) -> Fired:
        """What arrives on the target topic."""
        return (self.key, self.value, tuple(sorted((self.headers or {}).items())))


class OldService:
    """Its producers, and itself: a Java client, so murmur2 chooses the partition."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.topic = topic
        self._cluster = cluster
        self._producer = ck.Producer(
            {"bootstrap.servers": cluster.bootstrap, "partitioner": "murmur2_random"}
        )

    def schedule(self, schedule_id: bytes, schedule: OldSchedule) -> None:
        self._producer.produce(self.topic, schedule.encoded(), schedule_id)

    def cancel(self, schedule_id: bytes) -> None:
        self._producer.produce(self.topic, None, schedule_id)

    def fire(self, schedule_id: bytes, schedule: OldSchedule, version: int = 1) -> None:
        """Its message, and behind it the tombstone, in no transaction.

        Version 0 gives the tombstone the message's headers; version 1 ``schedule:expired``.
        """
        headers: dict[str, str | bytes | None] = {**(schedule.headers or {})}
        self._producer.produce(schedule.topic, schedule.value, schedule.key, headers=headers)
        if version == 1:
            headers = {_EXPIRED: b"true"}
        self._producer.produce(self.topic, None, schedule_id, headers=headers)

    def flush(self) -> None:
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def commit(self, group: str, partitions: int) -> None:
        """The group's offsets, at the end of everything, as its versions before 0.19 left them."""
        consumer = ck.Consumer({"bootstrap.servers": self._cluster.bootstrap, "group.id": group})
        ends = [
            ck.TopicPartition(self.topic, number, self._cluster.end_offset(self.topic, number))
            for number in range(partitions)
        ]
        consumer.commit(offsets=ends, asynchronous=False)
        consumer.close()

    def loads(self, partitions: int, version: int) -> dict[bytes, bytes] | None:
        """What is pending after its start, the record's value by id; None: it never gets there.

        TopicLoader reads every partition, uncommitted records too, until it has seen the offset
        before the end. Then version 0 forgets what any null followed; version 1 passes over a
        null with ``schedule:expired``.
        """
        records = self._cluster.read(self.topic, "read_uncommitted")
        for number in range(partitions):
            last = max((it.offset for it in records if it.partition == number), default=None)
            if last is not None and last < self._cluster.end_offset(self.topic, number) - 1:
                return None
        pending: dict[bytes, bytes] = {}
        for it in records:
            if it.value is not None:
                pending[it.key or b""] = it.value
            elif version == 0 or not _is_expired(it.headers):
                pending.pop(it.key or b"", None)
        return pending


def messages(arrived: Iterable[Arrived]) -> Counter[Fired]:
    """What is on a target topic, whatever the order."""
    return Counter((it.key, it.value, tuple(sorted(it.headers))) for it in arrived)


def _is_expired(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    return any(
        name.lower() == _EXPIRED and (value or b"").lower() == b"true" for name, value in headers
    )
