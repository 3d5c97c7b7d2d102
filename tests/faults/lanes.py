"""The schedule topics of the random walk, one or more for each format, and what is written there.

The records are made by hand, not by kms.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from kms.formats import AVRO
from kms.schedule import Schedule
from tests.broker.cluster import Cluster
from tests.broker.registry import WHOLE, Writers

# An update that overtook a firing must be written again before compaction gets to it, and a
# tombstone be read before it is deleted: both times are longer than any takeover here.
_TIMES = {"lag_ms": 60_000, "retention_ms": 60_000}


class Body(NamedTuple):
    """A record's value and headers."""

    value: bytes
    headers: Mapping[str, bytes] = {}


class Written(Protocol):
    """How a format has a message that is sent to ``target`` at ``due_ms``, and what is none."""

    def body(self, due_ms: int, target: str, key: bytes, value: bytes) -> Body: ...

    def bad(self, target: str, source: random.Random) -> Body: ...


class Lane(NamedTuple):
    """A schedule topic of a format, by the name that it has in kms."""

    form: str
    written: Written
    topic: str
    partitions: int
    due_in_ms: int = 1  # a due time is a multiple of that

    def due_ms(self, due_ms: int) -> int:
        """The due time at or after this one that the format can say."""
        return -(-due_ms // self.due_in_ms) * self.due_in_ms


class Avro:
    def body(self, due_ms: int, target: str, key: bytes, value: bytes) -> Body:
        return Body(AVRO.encode_value(Schedule(due_ms, target, key, value)))

    def bad(self, target: str, source: random.Random) -> Body:  # noqa: ARG002
        no_topic = self.body(0, "no/topic", b"", b"")
        return source.choice([Body(b""), Body(b"no Avro"), no_topic])


class Json:
    def body(self, due_ms: int, target: str, key: bytes, value: bytes) -> Body:
        found = {"time": due_ms, "topic": target, "key": _base64(key), "value": _base64(value)}
        return Body(json.dumps(found).encode())

    def bad(self, target: str, source: random.Random) -> Body:
        whole = self.body(0, target, b"bad", b"bad").value
        no_topic = self.body(0, "no/topic", b"", b"")
        return source.choice([Body(b""), Body(b"{}"), Body(whole[:-1]), no_topic])


class Headers:
    def body(self, due_ms: int, target: str, key: bytes, value: bytes) -> Body:
        how = {
            "scheduler-epoch": b"%d" % (due_ms // 1000),
            "scheduler-target-topic": target.encode(),
            "scheduler-target-key": key,
        }
        return Body(value, how)

    def bad(self, target: str, source: random.Random) -> Body:
        value, how = self.body(0, target, b"bad", b"bad")
        return source.choice(
            [
                Body(value),
                Body(value, {**how, "scheduler-epoch": b"soon"}),
                Body(value, {**how, "scheduler-target-topic": b"no/topic"}),
            ]
        )


class Registry:
    """``fresh`` is a schema that kms has not seen; ``use`` writes with it from then on."""

    def __init__(self, url: str) -> None:
        self._writers = Writers(url)
        self._number = 0
        self._used = self.fresh()

    def close(self) -> None:
        self._writers.client.close()

    def fresh(self) -> tuple[int, str]:
        self._number += 1
        schema = WHOLE.replace("com.sky.Schedule", f"com.sky.Schedule{self._number}")
        return self._writers.register("walk", schema), schema

    def use(self, schema: tuple[int, str]) -> None:
        self._used = schema

    def body(self, due_ms: int, target: str, key: bytes, value: bytes) -> Body:
        time = datetime.fromtimestamp(due_ms / 1000, UTC)
        fields = {"time": time, "topic": target, "key": key, "value": value, "headers": {}}
        return Body(self._writers.by_hand(*self._used, fields))

    def bad(self, target: str, source: random.Random) -> Body:
        whole = self.body(0, target, b"bad", b"bad").value
        no_topic = self.body(0, "no/topic", b"", b"")
        # Not an id that nobody gave: that waits, and holds its partition.
        return source.choice([Body(b"no Avro"), Body(whole[5:]), Body(whole + b"\0"), no_topic])


def lanes(cluster: Cluster, registry: Registry) -> list[Lane]:
    """New topics for all formats, compacted all the time."""
    return [
        Lane("avro", Avro(), cluster.compacted_topic(1, **_TIMES), 1),
        Lane("avro", Avro(), cluster.compacted_topic(12, **_TIMES), 12),
        Lane("json", Json(), cluster.compacted_topic(3, **_TIMES), 3),
        Lane("headers", Headers(), cluster.compacted_topic(3, **_TIMES), 3, due_in_ms=1_000),
        Lane("registry", registry, cluster.compacted_topic(3, **_TIMES), 3),
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
