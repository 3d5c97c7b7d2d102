"""Whether a partition's checkpoint still holds.

The rules of the design, section 4: the cache is used where it is provably the fold of this very
topic up to an offset that the log still covers, and dropped everywhere else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from kms import figures
from kms.errors import KafkaError, RetriableKafkaError
from kms.formats import Format
from kms.kafka import Admin, Offsets, TopicInfo, TopicPartition
from kms.partition import FoldingPartition
from kms.store import Checkpoint, Writer

_PAUSE_SECONDS = 0.5

_CLOCK_SLACK_MS = 60_000  # clocks are corrected by a little all the time

_log = logging.getLogger(__name__)


def doubt_of(
    known: Checkpoint, cluster_id: str, info: TopicInfo, low: int, high: int, retention_ms: int
) -> tuple[str, str] | None:
    """Why a checkpoint does not hold, so that its partition is read from the beginning, or None.

    Answers one of REBUILD_REASONS and a text. ``low`` and ``high`` are the log's first offset and
    its end, ``retention_ms`` is the topic's ``delete.retention.ms``.
    """
    age_ms = time.time_ns() // 1_000_000 - known.seen_ms
    if known.cluster_id != cluster_id:
        text = f"it is of cluster {known.cluster_id}, this one is {cluster_id}"
        return figures.OTHER_CLUSTER, text
    if known.topic_id != info.id:
        return figures.TOPIC_RECREATED, "the topic was deleted and made again"
    if known.next_offset < low:
        return figures.LOG_MOVED, f"its offset {known.next_offset} is before the log's first, {low}"
    if known.next_offset > high:
        return figures.LOG_MOVED, f"its offset {known.next_offset} is past the log's end, {high}"
    if age_ms < -_CLOCK_SLACK_MS:
        text = f"it was last known to be true {-age_ms // 1000} s from now: the clock was set back"
        return figures.CLOCK_SET_BACK, text
    if age_ms >= retention_ms:
        return figures.TOO_OLD, (
            f"it was last known to be true {age_ms // 1000} s ago, and tombstones may be gone "
            f"after the topic's delete.retention.ms ({retention_ms})"
        )
    return None


class Checkpoints:
    """Opens partitions at their checkpoint; for the consumer thread."""

    def __init__(
        self,
        admin: Admin,
        offsets: Offsets,
        writer: Writer,
        forms: Mapping[str, Format],
        stopping: threading.Event,
        waits: Callable[[], None] = lambda: None,
        rebuilds: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``waits`` is called now and then while it waits for the cluster.

        ``rebuilds`` gets the reason, one of REBUILD_REASONS, whenever a checkpoint does not hold.
        """
        self.total = 0  # of all schedule topics, how many partitions there are
        self._forms = forms
        self._admin = admin
        self._offsets = offsets
        self._writer = writer
        self._stopping = stopping
        self._waits = waits
        self._rebuilds = rebuilds

    def open(
        self, partitions: list[TopicPartition], *, rebuild: bool = False
    ) -> dict[TopicPartition, FoldingPartition]:
        """Each partition at the offset to fold it from; empty if stopped meanwhile.

        Waits for the cluster as long as it must. ``rebuild`` drops what the cache has of them.
        """
        if not partitions:
            return {}
        said = False
        while not self._stopping.is_set():
            self._waits()
            try:
                return self._open(partitions, rebuild)
            except RetriableKafkaError as error:
                if not said:
                    _log.warning("%s; trying again.", error)
                said = True
                self._stopping.wait(_PAUSE_SECONDS)
        return {}

    def _open(
        self, partitions: list[TopicPartition], rebuild: bool
    ) -> dict[TopicPartition, FoldingPartition]:
        cluster_id = self._admin.cluster_id()
        infos = self._admin.topics(self._forms)
        self.total = sum(info.partitions for info in infos.values() if info is not None)
        lows = self._offsets.starts(partitions)
        highs = self._offsets.high_watermarks(partitions)
        retentions = {
            topic: self._retention_ms(topic) for topic in {where.topic for where in partitions}
        }
        opened = {}
        for where in partitions:
            info = infos[where.topic]
            if info is None:
                raise RetriableKafkaError(f"Topic {where.topic} is not there")
            low, high = lows[where], highs[where]
            known = None if rebuild else self._writer.checkpoint(*where)
            if known is not None:
                doubt = doubt_of(known, cluster_id, info, low, high, retentions[where.topic])
                if doubt is not None:
                    reason, text = doubt
                    _log.warning("%s: the cache is rebuilt from the topic: %s.", where, text)
                    self._rebuilds(reason)
                    known = None
            if known is None:
                known = self._writer.restart(*where, info.id, cluster_id, low)
            rows = self._writer.rows(known.number)
            opened[where] = FoldingPartition(
                known, rows, high, retentions[where.topic], self._forms[where.topic]
            )
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
