"""A producer for single records that matter each: every one is answered with where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import confluent_kafka as ck

from kms.errors import BrokenProducerError, KafkaError, RetriableKafkaError
from kms.kafka.config import writer_config
from kms.kafka.errors import kafka_errors
from kms.kafka.reports import (
    LATER_SECONDS,
    TIMEOUT_SECONDS,
    Report,
    report_on,
    unacknowledged,
)
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.settings import Settings

_ANY_PARTITION = -1
_POLL_SECONDS = 0.05  # how long closing may take
_FULL_SECONDS = 0.01


class Sender:
    """Writes records and waits for each one's acknowledgement, at most ``timeout_seconds``.

    Without a partition a record goes where a Java producer would put its key. Raises
    UndeliverableError or KafkaError where Kafka refuses, RetriableKafkaError where it is out of
    reach. Any number of threads may share one; ``close`` ends its own. Once it ``is_broken``, by
    an error that is fatal to the producer, all it does is raise BrokenProducerError.
    """

    def __init__(self, settings: Settings, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        config = writer_config(settings) | {
            "delivery.report.only.error": False,  # the partition is in the report
            "message.timeout.ms": int(timeout_seconds * 1000),
            "linger.ms": 0,
        }
        with kafka_errors("Creating the producer"):
            self._client = ck.Producer(config)
        self._broken: Exception | None = None
        self._producing = threading.Lock()  # so that closing waits for all that was produced
        self._is_closed = False
        self._closing = threading.Event()
        # One thread takes the reports for all callers: flush(), which also would, waits for what
        # others send meanwhile.
        self._reports = threading.Thread(target=self._take_reports, name="reports", daemon=True)
        self._reports.start()

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be written with it any more; a new one may."""
        return self._broken is not None

    @property
    def longest_seconds(self) -> float:
        """When ``begin``'s answer is there at the latest."""
        return self._timeout_seconds + LATER_SECONDS

    def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> TopicPartition:
        """Write one record; answers the partition that it is on."""
        deadline = time.monotonic() + self._timeout_seconds
        while (answer := self.begin(topic, key, value, partition, headers)) is None:
            if time.monotonic() > deadline:
                raise RetriableKafkaError(f"Writing to {topic} failed: too much is waiting for it.")
            time.sleep(_FULL_SECONDS)
        try:
            return answer.result(self.longest_seconds)
        except TimeoutError:
            raise unacknowledged(f"Writing to {topic}") from None

    def begin(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> Future[TopicPartition] | None:
        """The same without any waiting: the answer to come; None as long as its queue is full."""
        doing = f"Writing to {topic}"
        report = report_on(doing)
        reported = partial(self._reported, report, doing)
        with self._producing:
            self._check(doing)
            try:
                with kafka_errors(doing):
                    self._client.produce(
                        topic, value, key, partition, reported, headers=list(headers)
                    )
            except BufferError:
                return None
        return report.answer

    def close(self) -> None:
        """Wait for the answers that are still to come, and end."""
        with self._producing:
            self._is_closed = True
        deadline = time.monotonic() + self.longest_seconds
        while len(self._client) > 0 and (left := deadline - time.monotonic()) > 0:
            self._serve(self._client.flush, left)
            if self._broken is not None:
                self._closing.wait(_FULL_SECONDS)  # to say so ends a flush at once, each time
        self._closing.set()
        self._reports.join()

    def _check(self, doing: str) -> None:
        if self._is_closed:
            raise KafkaError(f"{doing} failed: its producer is closed.")
        if self._broken is not None:
            raise _of_no_use(doing, self._broken) from self._broken

    def _reported(
        self, report: Report, doing: str, error: ck.KafkaError | None, message: ck.Message
    ) -> None:
        if error is not None and self._broken is not None:  # of this one it says "purged"
            report.answer.set_exception(_of_no_use(doing, self._broken))
        else:
            report.on_delivery(error, message)

    def _take_reports(self) -> None:
        while not self._closing.is_set():
            self._serve(self._client.poll, _POLL_SECONDS)
            if self._broken is not None:
                self._closing.wait(_POLL_SECONDS)  # it may come back at once each time

    def _serve(self, call: Callable[[float], object], seconds: float) -> None:
        """Let librdkafka call back: with reports, and with what is fatal to the producer."""
        try:
            with kafka_errors("its producer"):
                call(seconds)
        except Exception as error:  # noqa: BLE001 - raised by each call from now on
            self._broken = error


def _of_no_use(doing: str, broken: Exception) -> BrokenProducerError:
    return BrokenProducerError(
        f"{doing} failed: {broken}; only a new producer, or client, can go on."
    )
