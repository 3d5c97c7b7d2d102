"""A producer for single records that matter each: every one is answered with where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import confluent_kafka as ck

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import writer_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.settings import Settings

_TIMEOUT_SECONDS = 20.0
_ANY_PARTITION = -1
_POLL_SECONDS = 0.05  # how long closing may take
_FULL_SECONDS = 0.01


class Sender:
    """Writes records and waits for each one's acknowledgement, at most ``timeout_seconds``.

    Without a partition a record goes where a Java producer would put its key. Raises
    UndeliverableError or KafkaError where Kafka refuses, RetriableKafkaError where it is out of
    reach. Any number of threads may share one; ``close`` ends its own.
    """

    def __init__(self, settings: Settings, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        config = writer_config(settings) | {
            "delivery.report.only.error": False,  # the partition is in the report
            "message.timeout.ms": int(timeout_seconds * 1000),
            "linger.ms": 0,
        }
        with kafka_errors("Creating the producer"):
            self._client = ck.Producer(config)
        self._closing, self._broken = threading.Event(), threading.Event()
        # One thread takes the reports for all callers: flush(), which also would, waits for what
        # others send meanwhile.
        self._reports = threading.Thread(
            target=_take_reports,
            args=(self._client, self._closing, self._broken),
            name="reports",
            daemon=True,
        )
        self._reports.start()

    @property
    def is_broken(self) -> bool:
        """Whether a fatal error has ended the producer: nothing is written with it any more."""
        return self._broken.is_set()

    def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> TopicPartition:
        """Write one record; answers the partition that it is on."""
        answer = self.begin(topic, key, value, partition, headers)
        try:
            # The report of a message that timed out comes a moment after its time.
            return answer.result(self._timeout_seconds + 5)
        except TimeoutError:
            raise _unacknowledged(f"Writing to {topic}") from None

    def begin(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> Future[TopicPartition]:
        """The same, without waiting for the answer; waits only while librdkafka's queue is full."""
        answer: Future[TopicPartition] = Future()
        answer.set_running_or_notify_cancel()  # it can't be called back
        doing = f"Writing to {topic}"
        reported = partial(_reported, answer, doing)
        while True:
            try:
                with kafka_errors(doing):
                    self._client.produce(
                        topic, value, key, partition, reported, headers=list(headers)
                    )
                return answer
            except BufferError:
                time.sleep(_FULL_SECONDS)

    def close(self) -> None:
        """Wait for the answers that are still to come, and end."""
        with suppress(KafkaError), kafka_errors("Closing the producer"):  # one that is over
            self._client.flush(self._timeout_seconds + 5)
        self._closing.set()
        self._reports.join()


def _take_reports(client: ck.Producer, closing: threading.Event, broken: threading.Event) -> None:
    while not closing.is_set():
        try:
            with kafka_errors("Writing"):
                client.poll(_POLL_SECONDS)
        except KafkaError:
            # Only what is fatal to the producer is raised here, once; librdkafka logs why. What was
            # on its way has still to be reported, as given up.
            broken.set()


def _reported(
    answer: Future[TopicPartition], doing: str, error: ck.KafkaError | None, message: ck.Message
) -> None:
    if error is None:
        answer.set_result(TopicPartition(message.topic() or "", int(message.partition() or 0)))
    else:
        answer.set_exception(_problem(error, doing))


def _problem(error: ck.KafkaError, doing: str) -> KafkaError:
    if error.code() == ck.KafkaError._MSG_TIMED_OUT:
        return _unacknowledged(doing)
    return translated(error, doing)


def _unacknowledged(doing: str) -> RetriableKafkaError:
    return RetriableKafkaError(
        f"{doing} was not acknowledged in time; it may have been written all the same."
    )
