"""Whether a partition's checkpoint still holds, and until when it was known to be true.

The rules of the design, section 4: the cache is used where it is provably the fold of this very
topic up to an offset that the log still covers, and dropped everywhere else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka import Admin, StableEnds, TopicInfo, TopicPartition
from kms.partition import FoldingPartition
from kms.settings import Settings
from kms.store import Checkpoint, Writer

_PAUSE_SECONDS = 0.5
_CONFIRM_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Checkpoints:
    """Opens partitions at their checkpoint and keeps the checkpoints' age; consumer thread only.

    ``open`` waits for the cluster as long as it must; the rest never waits.
    """

    def __init__(
        self, settings: Settings, admin: Admin, writer: Writer, stopping: threading.Event
    ) -> None:
        self._group = settings.consumer_group_id
        self._admin = admin
        self._writer = writer
        self._stopping = stopping
        self._searches: list[StableEnds] = []
        self._confirmation = _Confirmation(admin)

    def open(
        self, partitions: list[TopicPartition], *, rebuild: bool = False
    ) -> dict[TopicPartition, FoldingPartition]:
        """Each partition at the offset to fold it from; empty if stopped meanwhile.

        ``rebuild`` drops what the cache has of them.
        """
        if not partitions:
            return {}
        while not self._stopping.is_set():
            try:
                opened = self._open(partitions, rebuild)
            except RetriableKafkaError as error:
                _log.warning("%s; trying again.", error)
                self._stopping.wait(_PAUSE_SECONDS)
            else:
                self._searches.append(StableEnds(self._admin, self._group, partitions))
                return opened
        return {}

    def find_targets(self, owned: Mapping[TopicPartition, FoldingPartition]) -> None:
        """Set the target of partitions for which it is known by now."""
        for search in list(self._searches):
            found = search.check()
            if found is None:
                continue
            self._searches.remove(search)
            for where, high_watermark in found.items():
                part = owned.get(where)
                if part is not None and part.target is None:
                    part.target = high_watermark

    def confirm(self, owned: Mapping[TopicPartition, FoldingPartition]) -> None:
        """Every few seconds, note since when each partition is known to be folded to its end."""
        for where, (end_offset, asked_ms) in self._confirmation.turn(owned).items():
            if where in owned:
                owned[where].stable_end(end_offset, asked_ms)
        for part in owned.values():
            part.confirm()

    def _open(
        self, partitions: list[TopicPartition], rebuild: bool
    ) -> dict[TopicPartition, FoldingPartition]:
        cluster_id = self._admin.cluster_id()
        infos = self._admin.topics({where.topic for where in partitions})
        watermarks = self._admin.watermarks(partitions)
        retentions = {topic: self._retention_ms(topic) for topic in infos}
        opened = {}
        for where in partitions:
            info = infos[where.topic]
            if info is None:
                raise RetriableKafkaError(f"Topic {where.topic} is not there")
            low, high = watermarks[where]
            known = None if rebuild else self._writer.checkpoint(*where)
            if known is not None:
                doubt = _doubt(known, cluster_id, info, low, high, retentions[where.topic])
                if doubt is not None:
                    _log.warning("%s: the cache is rebuilt from the topic: %s.", where, doubt)
                    known = None
            if known is None:
                known = self._writer.restart(*where, info.id, cluster_id, low)
            opened[where] = FoldingPartition(known, self._writer.rows(known.number), high)
        return opened

    def _retention_ms(self, topic: str) -> int:
        try:
            return int(self._admin.config(topic)["delete.retention.ms"])
        except RetriableKafkaError:
            raise
        except KafkaError as error:
            _log.warning(
                "%s. Without it every start reads topic %s from the beginning: "
                "allow DESCRIBE_CONFIGS on it.",
                error,
                topic,
            )
            return 0


class _Confirmation:
    """Asks, now and then, where the committed end of each partition is."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._asked: dict[TopicPartition, Future[Any]] = {}
        self._asked_ms = 0
        self._next_at = 0.0

    def turn(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """The ends that became known since the last turn, each with when it was asked for."""
        if not self._asked:
            now = time.monotonic()
            if now >= self._next_at:
                self._next_at = now + _CONFIRM_SECONDS
                self._asked_ms = time.time_ns() // 1_000_000
                self._asked = self._admin.start_ends(partitions)
            return {}
        if not all(future.done() for future in self._asked.values()):
            return {}
        asked, self._asked = self._asked, {}
        return {
            where: (future.result().offset, self._asked_ms)
            for where, future in asked.items()
            if future.exception() is None
        }


def _doubt(
    known: Checkpoint, cluster_id: str, info: TopicInfo, low: int, high: int, retention_ms: int
) -> str | None:
    age_ms = time.time_ns() // 1_000_000 - known.seen_ms
    if known.cluster_id != cluster_id:
        return f"it is of cluster {known.cluster_id}, this one is {cluster_id}"
    if known.topic_id != info.id:
        return "the topic was deleted and made again"
    if known.next_offset < low:
        return f"its offset {known.next_offset} is before the log's first, {low}"
    if known.next_offset > high:
        return f"its offset {known.next_offset} is past the log's end, {high}"
    if age_ms >= retention_ms:
        return (
            f"it was last known to be true {age_ms // 1000} s ago, and tombstones may be gone "
            f"after the topic's delete.retention.ms ({retention_ms})"
        )
    return None
