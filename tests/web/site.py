"""The pages over a cache, without Kafka: what the threads would have written is set by hand."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kms.assignment import Assignment, OwnedPartition
from kms.claims import Claims
from kms.due import Due
from kms.failures import Failure
from kms.figures import ConsumerFigures, ProducerFigures
from kms.formats import AVRO, USUAL
from kms.gate import Gate
from kms.heartbeat import Heartbeat
from kms.http_port import Page, Request
from kms.kafka import TopicPartition
from kms.rates import Rates
from kms.schedule import Header, Row, Schedule
from kms.settings import Settings
from kms.store import CacheFile, PageReader, PartitionRows, Writer
from kms.web import View, WebServer, Writing, pages
from tests.http_client import page

SECONDS = 20.0


class Answer(NamedTuple):
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def asked(url: str, method: str = "GET", **more: Any) -> Answer:
    """The answer to a request, whatever its status; ``data`` and ``headers`` are more of it."""
    request = urllib.request.Request(url, method=method, **more)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


class Site:
    """A served site; ``heartbeats`` and the figures are the test's to change."""

    def __init__(self, path: Path, writer: Writer, reader: PageReader, settings: Settings) -> None:
        self.consumer, self.producer = ConsumerFigures(), ProducerFigures()
        self.assignment, self.claims = Assignment(), Claims()
        self.heartbeats = {name: Heartbeat() for name in ("consumer", "producer", "scheduler")}
        self.gate = Gate(rates=Rates({"slow": 2.5}))
        self.stopping = False
        self.path = path
        self._writer = writer
        self._rows: dict[TopicPartition, PartitionRows] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self.view = View(
            settings,
            reader,
            self.assignment,
            self.claims,
            self.consumer,
            self.producer,
            self.gate,
            self.heartbeats,
            lambda: self.stopping,
        )
        self.pages = pages(self.view, page)
        self.writing = Writing(self.view)
        self.server = WebServer(settings, self.pages, self.writing.changes())

    def assign(self, topic: str = "schedules", partition: int = 0, *, firing: bool = True) -> None:
        """A partition is assigned; one that fires is folded to its end."""
        where = TopicPartition(topic, partition)
        rows = self._writer.rows(self._writer.restart(*where, "id", "cluster", 0).number)
        self._rows[where], self._offsets[where] = rows, 0
        self.assignment.partitions[rows.number] = OwnedPartition(rows.number, where, "id", 0, USUAL)
        if firing:
            self.claims.open(rows.number)
        self.consumer.assigned += 1
        self.consumer.caught_up += firing
        self.consumer.assigned_at = time.monotonic()

    def put(
        self,
        schedule_id: bytes,
        schedule: Schedule | bytes,
        topic: str = "schedules",
        partition: int = 0,
        *,
        headers: tuple[Header, ...] = (),
        failed: tuple[str, str] | None = None,
        waits_for: str | None = None,
    ) -> int:
        """Add a pending schedule, or a record that is none; answers its offset.

        ``headers`` are the record's; ``waits_for`` is the target topic that it is held back for.
        """
        where = TopicPartition(topic, partition)
        rows, offset = self._rows[where], self._offsets[where]
        due_ms = 0 if isinstance(schedule, bytes) else schedule.due_ms
        value = schedule if isinstance(schedule, bytes) else AVRO.encode_value(schedule)
        rows[schedule_id] = Row(offset, due_ms, value, headers)
        self._offsets[where] += 1
        self._writer.commit([rows], {rows.number: offset + 1}, {})
        self.assignment.partitions[rows.number].next_offset = offset + 1
        due = Due(rows.number, schedule_id, offset, due_ms, value, headers)
        if waits_for is not None:
            self._writer.set_aside(1, waits_for, [due])
        if failed is not None:
            self._writer.note([Failure(due, 3, 1_000, 4_102_444_800_000, *failed)])
        return offset

    def get(self, path: str, method: str = "GET", **more: Any) -> Answer:
        """Ask for it over HTTP."""
        return asked(f"http://127.0.0.1:{self.server.port}{path}", method, **more)

    def asked(self, path: str, query: str = "", rest: str = "") -> Page:
        """The same without HTTP."""
        return self.pages[path](Request({}, rest, query))


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Site]:
    """A site with an empty cache and nothing assigned."""
    path = folder / "cache.sqlite"
    wanted = Settings(
        **{
            "prometheus_scraping_endpoint_port": 0,
            "kms_http_address": "127.0.0.1",
            "kms_instance_id": "kms-0",
            "schedule_topics": ("schedules",),
            "kms_cache": path,
            **settings,
        }
    )
    with (
        closing(CacheFile(path)) as file,
        closing(Writer(file)) as writer,
        closing(PageReader(path)) as reader,
    ):
        site = Site(path, writer, reader, wanted)
        try:
            yield site
        finally:
            site.server.stop()
