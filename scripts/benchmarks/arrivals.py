"""When messages reach a read_committed consumer."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import confluent_kafka as ck

from benchmarks.usage import epoch_ms
from tests.broker.cluster import DEADLINE_SECONDS

_LIMIT = 10_000
_POLL_SECONDS = 0.05


class Batch(NamedTuple):
    """Messages that came with one poll: when, and when the broker appended each."""

    arrived_ms: float
    appended_ms: list[int]
    keys: list[bytes]


class Arrivals:
    """Reads one partition from its end on, in a thread of its own, until ``close``.

    Keeps the keys only where asked to, for they cost the machine time that is being measured.
    """

    def __init__(self, bootstrap: str, topic: str, *, keep_keys: bool = False) -> None:
        self.count = 0
        self.batches: list[Batch] = []
        self._keep_keys = keep_keys
        self._client = ck.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "kms-bench-unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        where = ck.TopicPartition(topic, 0)
        end = self._client.get_watermark_offsets(where, timeout=DEADLINE_SECONDS)[1]
        where.offset = end
        self._client.assign([where])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def last_ms(self) -> float:
        """When the last message so far arrived."""
        return self.batches[-1].arrived_ms

    def curve(self, start_ms: float) -> list[tuple[float, float]]:
        """Seconds since ``start_ms``, and how many had arrived by then."""
        points, count = [(0.0, 0.0)], 0
        for batch in self.batches:
            count += len(batch.appended_ms)
            points.append(((batch.arrived_ms - start_ms) / 1000, float(count)))
        return points

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            first = self._client.poll(_POLL_SECONDS)
            if first is None:
                continue
            # A consume with a time to wait would wait for all of it, or for so many.
            messages = [first, *self._client.consume(_LIMIT, 0)]
            now_ms = epoch_ms()
            good = [message for message in messages if message.error() is None]
            if not good:
                time.sleep(_POLL_SECONDS)
                continue
            appended_ms = [message.timestamp()[1] for message in good]
            keys = [message.key() or b"" for message in good] if self._keep_keys else []
            self.batches.append(Batch(now_ms, appended_ms, keys))
            self.count += len(good)
