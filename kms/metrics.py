"""The only prometheus_client: the threads' figures as metrics."""

from __future__ import annotations

import gzip
import itertools
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from kms import __version__
from kms.cache_figures import CacheFigures
from kms.errors import REASONS
from kms.figures import LATENESS_BUCKETS_SECONDS, ConsumerFigures, Errors, ProducerFigures
from kms.gate import Gate
from kms.http_port import Page, Request
from kms.store import PageReader


class MetricsPage:
    """What Prometheus scrapes: made anew for each request, in the form it asks for."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
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


class Scraped(NamedTuple):
    """What a service's metrics said: of counters what they came to since its start.

    ``lateness`` has for each upper bound, in seconds, how many were no later.
    """

    received: float
    fired: float
    failed: float
    lateness: Mapping[float, float]
    lateness_sum_seconds: float
    pending: Mapping[tuple[str, int], int]  # by schedule topic and partition
    assigned: int
    firing: int
    to_load: int


def scraped(text: str) -> Scraped | None:
    """Read what ``MetricsPage`` wrote; None if it is not of kms."""
    values: dict[str, float] = {}
    lateness: dict[float, float] = {}
    pending: dict[tuple[str, int], int] = {}
    try:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                values[name] = values.get(name, 0.0) + value
                if name == "kms_lateness_seconds_bucket":
                    lateness[float(labels["le"])] = value
                elif name == "kms_schedules_pending":
                    pending[labels["schedule_topic"], int(labels["partition"])] = int(value)
    except (ValueError, KeyError, IndexError):
        return None  # what another program answers may be anything
    if "kms_build_info" not in values:
        return None
    return Scraped(
        received=values.get("kms_records_received_total", 0.0),
        fired=values.get("kms_schedules_fired_total", 0.0),
        failed=values.get("kms_schedules_failed", 0.0),
        lateness=lateness,
        lateness_sum_seconds=values.get("kms_lateness_seconds_sum", 0.0),
        pending=pending,
        assigned=int(values.get("kms_assigned_partitions", 0.0)),
        firing=int(values.get("kms_firing_partitions", 0.0)),
        to_load=int(values.get("kms_records_to_load", 0.0)),
    )


class FiguresCollector(Collector):
    """Turns the figures into metric families whenever somebody scrapes."""

    def __init__(
        self,
        consumer: ConsumerFigures,
        producer: ProducerFigures,
        reader: PageReader,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate or Gate()
        self._consumer = consumer
        self._producer = producer
        self._cache = CacheFigures(consumer, reader)

    def collect(self) -> Iterator[Metric]:
        """All metrics; names and units as Prometheus asks."""
        yield from self._schedules()
        yield _counter(
            "kms_schedules_expired",
            "Schedules, or occurrences of one, that were not fired for they came too late.",
            ["topic"],
            _labelled(self._producer.expired),
        )
        yield from self._state()
        yield from self._targets()
        yield from self._takeovers()
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
        self._cache.look()
        pending = GaugeMetricFamily(
            "kms_schedules_pending",
            "Schedules of the assigned partitions that wait for their time.",
            labels=["schedule_topic", "partition"],
        )
        for (topic, partition), count in self._cache.pending.items():
            pending.add_metric([topic, str(partition)], count)
        yield pending
        caught_up = consumer.assigned > 0 and consumer.caught_up == consumer.assigned
        for name, text, value in (
            (
                "kms_schedules_failed",
                "Pending schedules that could not be fired and wait for another attempt.",
                self._cache.failed,
            ),
            (
                "kms_overdue_seconds",
                "How late the oldest schedule is that is due, not fired, and did not fail; else 0.",
                0 if self._gate.pauses.all_are() else self._cache.overdue_seconds,
            ),
            (
                "kms_group_member",
                "1 while the consumer group has this instance as a member.",
                consumer.joined,
            ),
            ("kms_assigned_partitions", "Partitions assigned to this instance.", consumer.assigned),
            ("kms_firing_partitions", "Assigned partitions that may fire.", consumer.caught_up),
            ("kms_held_partitions", "Those that wait for the schema registry.", consumer.held),
            ("kms_caught_up", "1 if every assigned partition is folded to its end.", caught_up),
            ("kms_records_to_load", "Offsets still to fold before firing.", consumer.left_to_load),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        build = GaugeMetricFamily("kms_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def _targets(self) -> Iterator[Metric]:
        for name, text, values in (
            (
                "kms_target_paused",
                "1 for a target topic that is paused; * stands for all.",
                dict.fromkeys(self._gate.pauses.since_ms(), 1),
            ),
            (
                "kms_schedules_held",
                "Due schedules that wait, as their target topic is paused or at its limit.",
                self._cache.held_back,
            ),
            (
                "kms_target_rate_limit",
                "Messages a second that all instances together may send to a target topic.",
                self._gate.rates.limits,
            ),
        ):
            family = GaugeMetricFamily(name, text, labels=["topic"])
            for topic, value in values.items():
                family.add_metric([topic], value)
            yield family

    def _takeovers(self) -> Iterator[Metric]:
        consumer = self._consumer
        yield _counter(
            "kms_rebalances",
            "Rebalances of the consumer group that this instance took part in.",
            [],
            {(): consumer.rebalances},
        )
        yield _counter(
            "kms_cache_rebuilds",
            "Partitions, or for file-unusable whole files, that had to be read anew.",
            ["reason"],
            _labelled(consumer.rebuilt),
        )
        # A counter alone can't be trusted: each start begins at zero, and may rebuild at once.
        yield GaugeMetricFamily(
            "kms_last_cache_rebuild_timestamp_seconds",
            "When the cache had to be rebuilt last since the start; 0 if never.",
            value=consumer.rebuilt_seconds,
        )

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
            # A counter that appears with its first dead letter has not increased, to Prometheus.
            dict.fromkeys(((reason,) for reason in REASONS), 0) | _labelled(producer.buried),
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


def _counter(
    name: str, text: str, labels: list[str], counts: Mapping[Any, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(list(values), count)
    return family


def _labelled(counts: dict[str, int]) -> dict[tuple[str, ...], int]:
    return {(label,): count for label, count in dict(counts).items()}
