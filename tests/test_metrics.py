"""What a scrape finds."""

from __future__ import annotations

import gzip
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from kms import __version__, cache_figures, times
from kms.due import Due
from kms.errors import ExitCode, SettingsError
from kms.failures import Failure
from kms.figures import LATENESS_BUCKETS_SECONDS, ConsumerFigures, ProducerFigures
from kms.gate import Gate
from kms.metrics import FiguresCollector, MetricsPage
from kms.pauses import Pause, Pauses
from kms.rates import Rates
from kms.schedule import Row
from kms.settings import Settings
from kms.store import CacheFile, PageReader, Writer
from kms.web import WebServer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
COUNTERS = {
    "kms_records_received": {"schedule_topic"},
    "kms_schedules_cancelled": {"schedule_topic"},
    "kms_records_rejected": {"schedule_topic", "reason"},
    "kms_schedules_fired": {"topic"},
    "kms_schedules_expired": {"topic"},
    "kms_firing_failures": {"topic", "reason"},
    "kms_dead_letters": {"reason"},
    "kms_transactions_aborted": set(),
    "kms_schedules_republished": set(),
    "kms_errors": {"thread"},
    "kms_rebalances": set(),
    "kms_cache_rebuilds": {"reason"},
}
GAUGES = {
    "kms_schedules_pending": {"schedule_topic", "partition"},
    "kms_schedules_failed": set(),
    "kms_overdue_seconds": set(),
    "kms_group_member": set(),
    "kms_last_cache_rebuild_timestamp_seconds": set(),
    "kms_assigned_partitions": set(),
    "kms_firing_partitions": set(),
    "kms_held_partitions": set(),
    "kms_target_paused": {"topic"},
    "kms_target_rate_limit": {"topic"},
    "kms_schedules_held": {"topic"},
    "kms_caught_up": set(),
    "kms_records_to_load": set(),
    "kms_build_info": {"version"},
    "kms_last_error_timestamp_seconds": {"thread"},
}
TOPIC = 'odd"topic\\with\nall'  # what labels must escape


class Scraped(NamedTuple):
    """The figures, and what a scrape makes of them."""

    consumer: ConsumerFigures
    producer: ProducerFigures
    writer: Writer
    reader: PageReader
    registry: CollectorRegistry

    def families(self) -> dict[str, Metric]:
        text = generate_latest(self.registry).decode()
        return {it.name: it for it in parser.text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        samples = [sample for family in self.families().values() for sample in family.samples]
        (value,) = (it.value for it in samples if (it.name, it.labels) == (name, labels))
        return value


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scraped]:
    consumer, producer, registry = ConsumerFigures(), ProducerFigures(), CollectorRegistry()
    with (
        closing(CacheFile(tmp_path / "cache.sqlite")) as file,
        closing(Writer(file)) as writer,
        closing(PageReader(file.path)) as reader,
    ):
        registry.register(FiguresCollector(consumer, producer, reader, a_gate()))
        yield Scraped(consumer, producer, writer, reader, registry)


def a_gate() -> Gate:
    """One target topic is paused, another has a limit."""
    pauses = Pauses()
    pauses.replace({"target": Pause(1)})
    return Gate(pauses, Rates({"other": 5.0}))


def fill(scraped: Scraped) -> None:
    consumer, producer = scraped.consumer, scraped.producer
    consumer.received[TOPIC] = 7
    consumer.cancelled["schedules"] = 3
    consumer.rejected["schedules", "null-id"] = 2
    consumer.add_rebuild("too-old", 2)
    consumer.add_rebuild("file-unusable", 0)
    consumer.rebalances = 10
    producer.fired["target"] = 5
    producer.add_expired("target")
    producer.failed["target", "too-large"] = 4
    producer.aborted, producer.republished = 8, 9
    producer.errors.add("something")
    producer.add_lateness([0.0, 0.001, 0.002, 3.0, 9_999.0])
    rows = scraped.writer.rows(scraped.writer.restart("schedules", 2, "id", "c", 0).number)
    rows[b"a"] = rows[b"b"] = Row(0, 0, b"")
    consumer.owned = {rows.number: ("schedules", 2)}
    scraped.writer.commit([rows], {}, {})
    scraped.writer.set_aside(1, "target", [Due(rows.number, b"b", 0, 0, b"")])
    producer.buried["too-large"] = 6
    scraped.writer.note([Failure(Due(rows.number, b"a", 0, 0, b""), 1, 0, 0, "too-large", "")])


def served(scraped: Scraped, settings: Settings) -> WebServer:
    page = MetricsPage(
        FiguresCollector(scraped.consumer, scraped.producer, scraped.reader, a_gate())
    )
    return WebServer(settings, {"/metrics": page})


def test_names_kinds_and_labels(scraped: Scraped) -> None:
    fill(scraped)
    families = scraped.families()
    kinds = {name: family.type for name, family in families.items()}
    assert kinds == (
        dict.fromkeys(COUNTERS, "counter")
        | dict.fromkeys(GAUGES, "gauge")
        | {"kms_lateness_seconds": "histogram"}
    )
    for name, labels in (COUNTERS | GAUGES).items():
        assert families[name].samples
        assert {frozenset(it.labels) for it in families[name].samples} == {frozenset(labels)}
        assert families[name].documentation.endswith((".", "text."))
    for name in COUNTERS:
        assert {it.name for it in families[name].samples} == {f"{name}_total"}


def test_it_is_served_until_stopped_also_in_the_stricter_openmetrics_form(
    scraped: Scraped,
) -> None:
    fill(scraped)
    settings = Settings(prometheus_scraping_endpoint_port=0)
    server = served(scraped, settings)
    try:
        assert server.url == f"http://localhost:{server.port}"
        request = urllib.request.Request(f"{server.url}/metrics", headers={"accept": OPENMETRICS})
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = bytes(answer.read()).decode()
    finally:
        server.stop()
    assert text.endswith("# EOF\n")
    found = openmetrics_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert {it.name for it in found} == {*COUNTERS, *GAUGES, "kms_lateness_seconds"}
    with socket.create_server(("0.0.0.0", server.port)):
        pass  # the port is free again


def test_values(scraped: Scraped) -> None:
    fill(scraped)
    for name, labels, value in (
        ("kms_records_received_total", {"schedule_topic": TOPIC}, 7),
        ("kms_schedules_cancelled_total", {"schedule_topic": "schedules"}, 3),
        ("kms_records_rejected_total", {"schedule_topic": "schedules", "reason": "null-id"}, 2),
        ("kms_schedules_fired_total", {"topic": "target"}, 5),
        ("kms_schedules_expired_total", {"topic": "target"}, 1),
        ("kms_firing_failures_total", {"topic": "target", "reason": "too-large"}, 4),
        ("kms_transactions_aborted_total", {}, 8),
        ("kms_dead_letters_total", {"reason": "too-large"}, 6),
        ("kms_dead_letters_total", {"reason": "topic-missing"}, 0),
        ("kms_schedules_failed", {}, 1),
        ("kms_cache_rebuilds_total", {"reason": "too-old"}, 2),
        ("kms_cache_rebuilds_total", {"reason": "file-unusable"}, 0),
        ("kms_rebalances_total", {}, 10),
        ("kms_group_member", {}, 0),
        ("kms_schedules_republished_total", {}, 9),
        ("kms_errors_total", {"thread": "producer"}, 1),
        ("kms_errors_total", {"thread": "consumer"}, 0),
        ("kms_schedules_pending", {"schedule_topic": "schedules", "partition": "2"}, 2),
        ("kms_build_info", {"version": __version__}, 1),
        ("kms_last_error_timestamp_seconds", {"thread": "consumer"}, 0),
    ):
        assert scraped.value(name, **labels) == value
    seconds = scraped.value("kms_last_error_timestamp_seconds", thread="producer")
    assert seconds == pytest.approx(scraped.producer.errors.last_seconds)


def test_the_lateness_is_a_cumulative_histogram(scraped: Scraped) -> None:
    fill(scraped)
    samples = scraped.families()["kms_lateness_seconds"].samples
    buckets = {float(it.labels["le"]): it.value for it in samples if it.name.endswith("_bucket")}
    assert list(buckets) == [*LATENESS_BUCKETS_SECONDS, float("inf")]
    counts = list(buckets.values())
    assert counts == sorted(counts)
    # A bucket holds what is as late as its bound, too.
    assert [buckets[bound] for bound in (0.001, 0.0025, 2.5, 5.0, 3600.0)] == [2, 3, 3, 4, 4]
    assert buckets[float("inf")] == scraped.value("kms_lateness_seconds_count") == 5
    assert scraped.value("kms_lateness_seconds_sum") == pytest.approx(10_002.003)


@pytest.mark.parametrize(("assigned", "caught_up", "expected"), [(0, 0, 0), (3, 2, 0), (3, 3, 1)])
def test_caught_up_means_every_assigned_partition(
    scraped: Scraped, assigned: int, caught_up: int, expected: int
) -> None:
    scraped.consumer.assigned, scraped.consumer.caught_up = assigned, caught_up
    scraped.consumer.left_to_load = 17
    assert scraped.value("kms_caught_up") == expected
    assert scraped.value("kms_assigned_partitions") == assigned
    assert scraped.value("kms_firing_partitions") == caught_up
    assert scraped.value("kms_records_to_load") == 17


def test_pending_schedules_are_not_counted_at_every_scrape(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"schedule_topic": "schedules", "partition": "2"}
    monkeypatch.setattr(cache_figures, "_AGE_SECONDS", 3600.0)
    fill(scraped)
    assert scraped.value("kms_schedules_pending", **labels) == 2
    scraped.writer.restart("schedules", 2, "id", "c", 0)
    assert scraped.value("kms_schedules_pending", **labels) == 2
    monkeypatch.setattr(cache_figures, "_AGE_SECONDS", -1.0)
    assert scraped.value("kms_schedules_pending", **labels) == 0


def test_what_was_given_up_is_not_counted(scraped: Scraped) -> None:
    """Another instance has it now, and counts it."""
    fill(scraped)
    scraped.consumer.owned = {}
    assert scraped.families()["kms_schedules_pending"].samples == []
    assert scraped.value("kms_schedules_failed") == 0


def test_overdue_is_the_oldest_that_is_due_and_did_not_fail(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "now_ms", lambda: 10_000)
    rows = scraped.writer.rows(scraped.writer.restart("schedules", 2, "id", "c", 0).number)
    rows[b"failed"], rows[b"due"], rows[b"later"] = (
        Row(0, 1_000, b""),
        Row(1, 3_000, b""),
        Row(2, 20_000, b""),
    )
    scraped.consumer.owned = {rows.number: ("schedules", 2)}
    scraped.writer.commit([rows], {}, {})
    scraped.writer.note([Failure(Due(rows.number, b"failed", 0, 1, b""), 1, 0, 0, "refused", "")])
    # As long as it is folded, nobody knows what has fired already.
    assert scraped.value("kms_overdue_seconds") == 0
    scraped.consumer.firing = [rows.number]
    assert scraped.value("kms_overdue_seconds") == 7.0
    monkeypatch.setattr(cache_figures, "_AGE_SECONDS", -1.0)
    del rows[b"due"]
    scraped.writer.commit([rows], {}, {})
    assert scraped.value("kms_overdue_seconds") == 0


def test_when_the_cache_was_rebuilt_last(scraped: Scraped) -> None:
    name = "kms_last_cache_rebuild_timestamp_seconds"
    assert scraped.value(name) == 0
    fill(scraped)
    assert scraped.value(name) == pytest.approx(scraped.consumer.rebuilt_seconds)


def test_a_taken_port_is_a_wrong_setting(scraped: Scraped) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"PROMETHEUS_SCRAPING_ENDPOINT_PORT {port}"):
            served(scraped, Settings(prometheus_scraping_endpoint_port=port))
    assert SettingsError.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_somebody_else_is_a_wrong_setting(scraped: Scraped, address: str) -> None:
    settings = Settings(prometheus_scraping_endpoint_port=0, kms_http_address=address)
    with pytest.raises(SettingsError, match=f"KMS_HTTP_ADDRESS {address} can't be listened on"):
        served(scraped, settings)


def test_compressed_for_those_who_ask(scraped: Scraped) -> None:
    fill(scraped)
    settings = Settings(prometheus_scraping_endpoint_port=0, kms_http_address="127.0.0.1")
    server = served(scraped, settings)
    assert server.url == f"http://127.0.0.1:{server.port}"
    try:
        request = urllib.request.Request(
            f"{server.url}/metrics", headers={"Accept-Encoding": "gzip"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert b"kms_build_info" in gzip.decompress(answer.read())
    finally:
        server.stop()
