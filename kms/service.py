"""Wires the threads, watches them, stops them in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from contextlib import ExitStack, closing, suppress

from kms.assignment import Assignment
from kms.at_least_once import AtLeastOnce
from kms.claims import Claims
from kms.consumer import ScheduleConsumer
from kms.control import Control
from kms.delivery import Delivery, ExactlyOnce
from kms.due import DueQueue
from kms.ending import Ending, Work
from kms.errors import (
    CacheDamagedError,
    CacheError,
    CommitInDoubtError,
    ExitCode,
    KafkaError,
    KmsError,
)
from kms.failures import Failures
from kms.figures import FILE_UNUSABLE
from kms.formats import Schemas, formats_of
from kms.gate import Gate
from kms.kafka import Admin, Offsets, check_access, checked_properties
from kms.metrics import FiguresCollector, MetricsPage
from kms.pauses import Pauses
from kms.producer import ScheduleProducer
from kms.progress import Progress
from kms.rates import Rates
from kms.registry import schemas_of
from kms.scheduler import DueScheduler
from kms.settings import Settings
from kms.stop_signals import stopping_on
from kms.store import CacheFile, PageReader, Reader, Writer
from kms.systemd import Systemd
from kms.web import View, WebServer, Writing, pages
from kms.worker import Worker

_WATCH_SECONDS = 0.2
_STOP_SECONDS = 30.0
_AGAIN_SECONDS = 1.0  # before it begins anew

_log = logging.getLogger(__name__)


class Service:
    """One instance: a consumer, a scheduler and a producer thread over one cache file."""

    def __init__(self, settings: Settings, file: CacheFile, systemd: Systemd) -> None:
        self._settings = settings
        self._systemd = systemd
        with ExitStack() as exits:
            scheduler_reader = exits.enter_context(closing(Reader(file.path)))
            metrics_reader = exits.enter_context(closing(PageReader(file.path)))
            page_reader = exits.enter_context(closing(PageReader(file.path)))
            known = scheduler_reader.schemas(settings.kms_schema_registry_url or "")
            schemas = schemas_of(settings, known)
            if schemas is not None:
                exits.callback(schemas.close)
            self._wire(settings, file, scheduler_reader, schemas)
            self._ending_reader = exits.enter_context(closing(Reader(file.path)))
            self.workers: list[Worker] = [
                *(self.scheduler, self.producer, self.consumer, self.control)
            ]
            figures = self.consumer.figures, self.producer.figures
            self.consumer.figures.add_rebuild(FILE_UNUSABLE, file.replaced)
            self._view = View(
                settings,
                page_reader,
                self._assignment,
                self._claims,
                *figures,
                self._gate,
                {worker.name: worker.heartbeat for worker in self.workers},
                stopping=lambda: any(worker.stopping.is_set() for worker in self.workers),
            )
            writing = exits.enter_context(closing(Writing(self._view)))
            page = MetricsPage(FiguresCollector(*figures, metrics_reader, self._gate))
            self.web = WebServer(settings, pages(self._view, page), writing.changes())
            exits.callback(self.web.stop)
            self._exits = exits.pop_all()

    def run(self, stopping: threading.Event, ending: Ending) -> None:
        """Run until ``stopping`` is set, the ending has come, or a thread fails.

        The thread's error is raised then.
        """
        workers = self.workers
        self._say_hello()
        with self._exits:
            check_access(
                self._settings, stopping, lambda: self._systemd.waits("Waiting for Kafka.")
            )
            if not stopping.is_set():
                ending.begin(self._work())
            try:
                for worker in workers:
                    worker.start()
                bar = self._settings.kms_log_format == "text"
                with Progress(self.consumer.figures, bar=bar) as progress:
                    while not (stopping.is_set() or ending.has_come()):
                        progress.update()
                        for worker in workers:
                            worker.raise_for_error()
                        self._tell_systemd()
                        stopping.wait(_WATCH_SECONDS)
                self._systemd.stops()
            finally:
                _log.info("Stopping; a second signal leaves at once.")
                # In this order: nothing new becomes due, the running transaction ends, then the
                # partitions are given up.
                for worker in workers:
                    _end(worker, self._systemd)
            for worker in workers:
                worker.raise_for_error()

    def _tell_systemd(self) -> None:
        figures = self.consumer.figures, self.producer.figures
        self._systemd.turns(self._view.live(), self._view.ready(), *figures)

    def _work(self) -> Work:
        return Work(
            self._settings,
            self.consumer.figures,
            self.producer.figures,
            self._claims,
            self._ending_reader,
            self._gate,
        )

    def _say_hello(self) -> None:
        _log.info(
            "kms runs: topics %s, group %s, cache %s, %s, metrics at %s.",
            ", ".join(self._settings.topics),
            self._settings.consumer_group_id,
            self._settings.kms_cache,
            self._settings.kms_delivery,
            f"{self.web.url}/metrics",
        )

    def _wire(
        self, settings: Settings, file: CacheFile, reader: Reader, schemas: Schemas | None
    ) -> None:
        forms = formats_of(settings.formats, schemas)
        queue = DueQueue()
        self._assignment = assignment = Assignment()
        self._claims = claims = Claims()
        pauses = Pauses(known=False)
        rates = Rates(settings.kms_rate_limits, assignment.share)
        self._gate = gate = Gate(pauses, rates, reader.lanes())
        self.control = Control(settings, pauses)
        self.scheduler = DueScheduler(reader, claims, queue, assignment.decode, gate)
        claims.changed = pauses.changed = self.scheduler.wakeup
        delivery: Delivery
        if settings.kms_delivery == "exactly-once":
            delivery = ExactlyOnce(settings, assignment)
        else:
            delivery = AtLeastOnce(settings, assignment)
        failures = Failures()
        self.producer = ScheduleProducer(
            settings, delivery, queue, claims, assignment, failures, gate
        )
        self.consumer = ScheduleConsumer(
            settings,
            Admin(settings),
            Offsets(settings),
            Writer(file, claims),
            claims,
            assignment,
            failures,
            forms,
            queue.has_backlog,
            schemas,
            gate,
        )


def run_service(settings: Settings, ending: Ending) -> ExitCode:
    """Run in this process until the ending, SIGTERM or Ctrl-C; asked again, it leaves at once.

    It begins anew by itself with a new cache where that turns out to be damaged, and where a commit
    is in doubt. Raises the KmsError of all else.
    """
    checked_properties(settings)
    _collect_garbage_rarely()
    stopping, systemd = threading.Event(), Systemd()
    with (
        stopping_on((signal.SIGTERM, signal.SIGINT), stopping, _leave),
        ending.limit(stopping),
        ExitStack() as exits,
    ):
        file = ending.open_cache(settings.kms_cache, stopping)
        if file is not None:
            exits.enter_context(closing(file))
        service: Service | None = None
        while file is not None and not stopping.is_set():
            try:
                service = Service(settings, file, systemd)
                service.run(stopping, ending)
                break
            except CacheDamagedError as error:
                _check_ended(service, error)
                file.replace(str(error))
            except CommitInDoubtError as error:
                if stopping.is_set():
                    raise
                _check_ended(service, error)
                _log.warning("%s Beginning anew.", error)
                stopping.wait(_AGAIN_SECONDS)
            except KmsError:
                raise
            except Exception:  # noqa: BLE001 - the last stop: said whole, the exit code says it
                _log.exception("kms ends: this is a bug.")
                return ExitCode.FAILED
    ending.raise_for_timeout()
    _log.info("kms ended; everything it had begun is finished or undone.")
    return ExitCode.OK


def _check_ended(service: Service | None, error: KmsError) -> None:
    """Raise what keeps another one from beginning in this process, in place of ``error``.

    A thread that hangs may write the cache behind its back, if it ever comes back; and who was
    fenced has a successor already.
    """
    workers = [] if service is None else service.workers
    hanging = [worker.name for worker in workers if not worker.join(0.0)]
    if hanging:
        raise KafkaError(f"{error} The {hanging[0]} thread hangs, so the process ends.")
    for worker in workers:
        with suppress(CacheError, CommitInDoubtError):
            worker.raise_for_error()


def _collect_garbage_rarely() -> None:
    """With Python's own limits a quarter of the time of firing went into looking for cycles.

    Measured, with tens of thousands of claims alive. kms makes next to no cycles.
    """
    gc.freeze()  # what was imported stays
    gc.set_threshold(200_000, 10, 10)


def _end(worker: Worker, systemd: Systemd) -> None:
    worker.stop()
    deadline = time.monotonic() + _STOP_SECONDS
    # Where a thread failed systemd was not told of a stop, and its watchdog goes on: it would bite
    # while the partitions are given up, and the exit code that says what happened would be lost.
    while not (ended := worker.join(_WATCH_SECONDS)) and time.monotonic() < deadline:
        systemd.waits(f"Stopping: waiting for the {worker.name} thread.")
    if not ended:
        _log.error("The %s thread did not end in %.0f s.", worker.name, _STOP_SECONDS)


def _leave(number: int) -> None:
    os._exit(128 + number)
