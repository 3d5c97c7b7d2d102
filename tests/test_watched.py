"""What a watcher sees of a service's metrics, and of the cache where none answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kms.errors import CacheError
from kms.figures import ConsumerFigures, ProducerFigures
from kms.http_port import HttpPort, Page
from kms.metrics import FiguresCollector, MetricsPage, scraped
from kms.schedule import Row
from kms.settings import Settings
from kms.store import CacheFile, Filter, PageReader, Writer
from kms.times import now_ms
from kms.watched import Watcher

HOUR_MS = 3_600_000
TOPIC = 'odd"topic'


class Service:
    """A cache with a schedule each that is overdue, next and later, and the figures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.consumer, self.producer = ConsumerFigures(), ProducerFigures()
        self.file = CacheFile(path)
        self.writer = Writer(self.file)
        self.number = self.writer.restart(TOPIC, 0, "id", "cluster", 0).number
        self.reader = PageReader(path)
        self.consumer.owned = {self.number: (TOPIC, 0)}
        self.page = MetricsPage(FiguresCollector(self.consumer, self.producer, self.reader))

    def put(self, offset: int, due_ms: int) -> None:
        rows = self.writer.rows(self.number)
        rows[b"%d" % offset] = Row(offset, due_ms, b"no schedule")
        self.writer.commit([rows], {self.number: offset + 1}, {})

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        self.file.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with closing(Service(tmp_path / "kms.sqlite")) as service:
        service.put(0, now_ms() - HOUR_MS)
        service.put(1, now_ms() + HOUR_MS)
        yield service


def settings(path: Path, port: int) -> Settings:
    return Settings(
        kms_cache=path, prometheus_scraping_endpoint_port=port, kms_http_address="127.0.0.1"
    )


def test_what_a_scrape_says(service: Service) -> None:
    service.consumer.received["a"] = 5
    service.consumer.received["b"] = 6
    service.consumer.assigned, service.consumer.caught_up = 3, 2
    service.consumer.left_to_load = 77
    service.producer.fired["x"] = 4
    service.producer.add_lateness([0.002, 0.2, 1e9])
    registry = CollectorRegistry()
    registry.register(FiguresCollector(service.consumer, service.producer, service.reader))
    found = scraped(generate_latest(registry).decode())
    assert found is not None
    assert (found.received, found.fired, found.failed) == (11, 4, 0)
    assert (found.assigned, found.firing, found.to_load) == (3, 2, 77)
    assert found.pending == {(TOPIC, 0): 2}
    assert found.lateness_sum_seconds == pytest.approx(1e9 + 0.202)
    assert [found.lateness[le] for le in (0.001, 0.0025, 0.25, 3600.0, float("inf"))] == [
        *(0, 1, 2, 2, 3),
    ]


@pytest.mark.parametrize(
    "text", ["", "up 1\n", "<html>", 'a{b="', "kms_build_info x\n", "kms_build_info{ 1\n", "\0"]
)
def test_what_is_not_of_kms(text: str) -> None:
    assert scraped(text) is None


def test_beside_a_service(service: Service) -> None:
    port = HttpPort("127.0.0.1", 0, {"/metrics": service.page})
    try:
        with closing(Watcher(settings(service.path, port.port), Filter(), 1)) as watcher:
            first = watcher.look()
            assert first.metrics_url == f"http://127.0.0.1:{port.port}/metrics"
            assert (first.pending, first.failed, first.fired, first.late_seconds) == (
                *(2, 0, None, None),
            )
            service.producer.fired["x"] = 9
            service.producer.add_lateness([0.004] * 99 + [0.2])
            second = watcher.look()
            assert second.fired is not None
            assert second.fired > 0
            assert second.fired_ever == 9
            assert second.late_seconds is not None
            assert second.late_seconds[0] == pytest.approx(0.00596)
            assert second.late_seconds[1] == 0.005
            assert [each.offset for each in second.next] == [0]
            service.producer.fired.clear()  # as after a restart
            assert watcher.look().fired is None
    finally:
        port.stop()
    with closing(Watcher(settings(service.path, port.port), Filter(), 1)) as watcher:
        assert watcher.look().metrics_url is None


def test_the_cache_alone(service: Service) -> None:
    with closing(Watcher(settings(service.path, 0), Filter(after_ms=now_ms()), 5)) as watcher:
        first = watcher.look()
        assert (first.metrics_url, first.pending, first.received, first.fired) == (
            *(None, 2, None, None),
        )
        assert first.overdue_ms is not None
        assert HOUR_MS <= first.overdue_ms < HOUR_MS + 60_000
        assert [each.offset for each in first.next] == [1]
        service.put(2, 0)
        second = watcher.look()
        assert second.received is not None
        assert second.received > 0


def test_another_programs_port(service: Service) -> None:
    port = HttpPort("127.0.0.1", 0, {"/metrics": lambda _: Page(b"up 1\n", {})})
    try:
        with closing(Watcher(settings(service.path, port.port), Filter(), 1)) as watcher:
            assert watcher.look().metrics_url is None
    finally:
        port.stop()


def test_neither(tmp_path: Path) -> None:
    with (
        closing(Watcher(settings(tmp_path / "none", 0), Filter(), 1)) as watcher,
        pytest.raises(CacheError, match="There is no cache"),
    ):
        watcher.look()
