"""Reads a stretch of a partition as it lies there, with what open transactions wrote."""

from __future__ import annotations

import time
from collections.abc import Mapping

import confluent_kafka as ck

from kms.errors import RetriableKafkaError
from kms.kafka.config import common_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.offsets import end_offsets
from kms.kafka.values import TopicPartition
from kms.settings import Settings

_POLL_SECONDS = 0.1
_LIMIT = 1_000


class StretchReader:
    """A read_uncommitted consumer that belongs to no group; for one thread."""

    def __init__(self, settings: Settings) -> None:
        config = common_config(settings) | {
            "group.id": settings.consumer_group_id,
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
        with kafka_errors("Creating a consumer"):
            self._client = ck.Consumer(config)

    def keys(
        self, starts: Mapping[TopicPartition, int], timeout_seconds: float
    ) -> list[tuple[TopicPartition, bytes | None]]:
        """The key of every record from these offsets to the high watermarks as they are now.

        Committed, aborted and open ones alike. Raises RetriableKafkaError if that can't be had in
        time, KafkaError where the cluster refuses.
        """
        deadline = time.monotonic() + timeout_seconds
        ends = end_offsets(self._client, starts)
        left = {where for where, start in starts.items() if start < ends[where]}
        self._client.assign([ck.TopicPartition(*where, starts[where]) for where in left])
        found: list[tuple[TopicPartition, bytes | None]] = []
        try:
            while left:
                if time.monotonic() > deadline:
                    raise RetriableKafkaError("Reading what was just written took too long")
                first = self._client.poll(_POLL_SECONDS)
                messages = [] if first is None else [first, *self._client.consume(_LIMIT, 0)]
                for message in messages:
                    self._take(message, ends, left, found)
        finally:
            self._client.unassign()
        return found

    def _take(
        self,
        message: ck.Message,
        ends: Mapping[TopicPartition, int],
        left: set[TopicPartition],
        found: list[tuple[TopicPartition, bytes | None]],
    ) -> None:
        where = TopicPartition(message.topic() or "", message.partition() or 0)
        error, offset = message.error(), message.offset() or 0
        if error is None:
            if offset < ends[where]:
                found.append((where, message.key()))
            if offset + 1 >= ends[where]:
                left.discard(where)
        elif error.code() == ck.KafkaError._PARTITION_EOF:
            # Markers before it are never delivered.
            if offset >= ends[where]:
                left.discard(where)
        else:
            problem = translated(error, f"Reading {where}")
            if not isinstance(problem, RetriableKafkaError):
                raise problem
