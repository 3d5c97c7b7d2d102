"""The only prometheus_client: the threads' figures as metrics."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from kms import __version__
from kms.figures import LATENESS_BUCKETS_SECONDS, ConsumerFigures, Errors, ProducerFigures
from kms.http_port import Page, Request
from kms.store import Reader

_PENDING_AGE_SECONDS = 1.0  # counting a million rows takes some milliseconds of disk


class MetricsPage:
    """What Prometheus scrapes: made anew for each request, in the form it asks for."""

    def __init__(
        self, consumer: ConsumerFigures, producer: ProducerFigures, reader: Reader
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(FiguresCollector(consumer, producer, reader))
        self._lock = threading.Lock()  # many at once would only take turns

    def __call__(self, request: Request) -> Page:
        """Raises CacheError where the cache can't be counted."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        with self._lock:
            body = encode(self._registry)
        headers = {"Content-Type": content_type}
        if gzip_accepted(request.headers.get("Accept-Encoding", "")):
            return Page(gzip.compress(body), headers | {"Content-Encoding": "gzip"})
        return Page(body, headers)


class FiguresCollector(Collector):
    """Turns the figures into metric families whenever somebody scrapes."""

    def __init__(
        self, consumer: ConsumerFigures, producer: ProducerFigures, reader: Reader
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._pending = _Pending(reader)

    def collect(self) -> Iterator[Metric]:
        """All metrics; names and units as Prometheus asks."""
        yield from self._schedules()
        yield from self._state()
        yield from self._errors()
        yield self._lateness()

    def _schedules(self) -> Iterator[Metric]:
        consumer, producer = self._consumer, self._producer
        for name, text, labels, counts in (
            (
                "kms_records_received",
                "Records read from the schedule topics, tombstones included.",
                ["schedule_topic"],
                _labelled(consumer.received),
            ),
            (
                "kms_schedules_cancelled",
                "Pending schedules cancelled by a null value.",
                ["schedule_topic"],
                _labelled(consumer.cancelled),
            ),
            (
                "kms_records_rejected",
                "Records that are no schedule.",
                ["schedule_topic", "reason"],
                dict(consumer.rejected),
            ),
            (
                "kms_schedules_fired",
                "Schedules sent to their target topic.",
                ["topic"],
                _labelled(producer.fired),
            ),
            (
                "kms_firing_failures",
                "Attempts to fire that failed, the last one before a dead letter included.",
                ["topic", "reason"],
                dict(producer.failed),
            ),
        ):
            yield _counter(name, text, labels, counts)

    def _state(self) -> Iterator[Metric]:
        consumer = self._consumer
        pending = GaugeMetricFamily(
            "kms_schedules_pending",
            "Schedules in the cache that wait for their time.",
            labels=["schedule_topic", "partition"],
        )
        for (topic, partition), count in self._pending.counts().items():
            pending.add_metric([topic, str(partition)], count)
        yield pending
        caught_up = consumer.assigned > 0 and consumer.caught_up == consumer.assigned
        for name, text, value in (
            (
                "kms_schedules_failed",
                "Pending schedules that could not be fired and wait for another attempt.",
                self._pending.failed(),
            ),
            ("kms_assigned_partitions", "Partitions assigned to this instance.", consumer.assigned),
            ("kms_firing_partitions", "Assigned partitions that may fire.", consumer.caught_up),
            (
                "kms_held_partitions",
                "Assigned partitions that wait for the schema registry.",
                consumer.held,
            ),
            ("kms_caught_up", "1 if every assigned partition is folded to its end.", caught_up),
            ("kms_records_to_load", "Offsets still to fold before firing.", consumer.left_to_load),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        build = GaugeMetricFamily("kms_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def _errors(self) -> Iterator[Metric]:
        producer = self._producer
        yield _counter("kms_transactions_aborted", "Batches undone.", [], {(): producer.aborted})
        yield _counter(
            "kms_schedules_republished",
            "Updates written again because they were overtaken by their older version's firing.",
            [],
            {(): producer.republished},
        )
        yield _counter(
            "kms_dead_letters",
            "Schedules given up: sent to the dead-letter topic.",
            ["reason"],
            _labelled(producer.buried),
        )
        count = CounterMetricFamily("kms_errors", "Errors survived.", labels=["thread"])
        last = GaugeMetricFamily(
            "kms_last_error_timestamp_seconds",
            "When the last error happened; the log has its text.",
            labels=["thread"],
        )
        threads: dict[str, Errors] = {
            "consumer": self._consumer.errors,
            "producer": producer.errors,
        }
        for thread, errors in threads.items():
            count.add_metric([thread], errors.count)
            last.add_metric([thread], errors.last_seconds)
        yield count
        yield last

    def _lateness(self) -> Metric:
        counts = list(itertools.accumulate(self._producer.lateness_counts))
        bounds = [*map(str, LATENESS_BUCKETS_SECONDS), "+Inf"]
        return HistogramMetricFamily(
            "kms_lateness_seconds",
            "From a schedule's time to the commit of its firing.",
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._producer.lateness_sum_seconds,
        )


class _Pending:
    """The pending counts, asked of the cache at most every few seconds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counts: dict[tuple[str, int], int] = {}
        self._failed = 0
        self._asked_at = float("-inf")

    def counts(self) -> dict[tuple[str, int], int]:
        self._look()
        return self._counts

    def failed(self) -> int:
        self._look()
        return self._failed

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._asked_at > _PENDING_AGE_SECONDS:
            self._counts, self._failed = self._reader.counts(), self._reader.failed_count()
            self._asked_at = now


def _counter(
    name: str, text: str, labels: list[str], counts: Mapping[Any, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(list(values), count)
    return family


def _labelled(counts: dict[str, int]) -> dict[tuple[str, ...], int]:
    return {(label,): count for label, count in dict(counts).items()}
