"""Look-ups that may take long, in the background: up to where to fold before anything fires."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from kms.errors import RetriableKafkaError
from kms.kafka import Offsets, TopicPartition
from kms.partition import FoldingPartition

_PAUSE_SECONDS = 0.05
_CONFIRM_SECONDS = 10.0

Found = dict[TopicPartition, int]


class Lookups:
    """Asks for the consumer thread, which calls every method and never waits in one.

    Results are set on the very partitions they were asked for: a partition that was given up and
    comes back is another object, and needs a look-up of its own.
    """

    def __init__(self, offsets: Offsets, stopping: threading.Event) -> None:
        self._offsets = offsets
        self._stopping = stopping
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="lookups")
        self._targets: list[tuple[Future[Found], list[FoldingPartition]]] = []
        self._confirmation: tuple[Future[Found], list[FoldingPartition], int] | None = None
        self._confirm_at = 0.0

    def find_targets(self, parts: Iterable[FoldingPartition]) -> None:
        """Start to find the target of partitions that were just assigned.

        First until the group's offsets are stable: what a former owner left open has ended then.
        Only then the high watermark, which lies behind all that owner wrote (design section 4).
        """
        asked = list(parts)
        future = self._pool.submit(self._target, [part.where for part in asked])
        self._targets.append((future, asked))

    def turn(self, owned: Collection[FoldingPartition]) -> None:
        """Take over what was found meanwhile; raises KafkaError where the cluster refuses."""
        if self._stopping.is_set():
            return  # what still runs ends without an answer
        for search in [each for each in self._targets if each[0].done()]:
            self._targets.remove(search)
            future, asked = search
            for part in asked:
                part.target = future.result()[part.where]
        self._confirm(owned)

    def close(self) -> None:
        """Give up; what runs ends within a few seconds."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._offsets.close()

    def _confirm(self, owned: Collection[FoldingPartition]) -> None:
        """Every few seconds, note since when each partition is known to be folded to its end."""
        if self._confirmation is None and time.monotonic() >= self._confirm_at and owned:
            self._confirm_at = time.monotonic() + _CONFIRM_SECONDS
            asked_ms = time.time_ns() // 1_000_000
            asked = list(owned)
            future = self._pool.submit(self._offsets.stable_ends, [part.where for part in asked])
            self._confirmation = future, asked, asked_ms
        elif self._confirmation is not None and self._confirmation[0].done():
            future, asked, asked_ms = self._confirmation
            self._confirmation = None
            if future.exception() is None:  # else the next one will tell
                for part in asked:
                    part.stable_end(future.result()[part.where], asked_ms)
        for part in owned:
            part.confirm()

    def _target(self, partitions: list[TopicPartition]) -> Found:
        while not self._stopping.is_set():
            try:
                self._offsets.await_stable_group(partitions)
                return self._offsets.high_watermarks(partitions)
            except RetriableKafkaError:
                self._stopping.wait(_PAUSE_SECONDS)
        raise CancelledError
