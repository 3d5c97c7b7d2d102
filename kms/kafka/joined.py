"""Somebody else's producer, whose transaction what is written joins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import confluent_kafka as ck

from kms.errors import KafkaError, RequestError
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.murmur2 import java_partition
from kms.kafka.reports import LATEST_SECONDS, Report, report_on, unacknowledged
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.topics import missing_text

Producer = ck.Producer

_LOOK_UP_SECONDS = 10.0
_FULL_SECONDS = 0.1
_POLL_SECONDS = 0.05
_UNDO_SECONDS = 10.0


class JoinedWriter:
    """Writes by the producer of somebody else, who begins, commits and aborts its transactions.

    In a transaction it only produces, else it waits for the acknowledgement. A record goes where a
    Java producer would put its key, whatever the producer's partitioner: others write under the
    same id. How many partitions the topic has is looked up once.
    """

    def __init__(self, producer: Producer) -> None:
        """Raises RequestError if it is none, or one that would serialise what it is given."""
        if not isinstance(producer, ck.Producer) or _serialises(producer):
            raise RequestError(
                f"producer is a {type(producer).__name__}: give a confluent_kafka.Producer."
            )
        self._client = producer
        self._partitions: dict[str, int] = {}
        self._asking = threading.Lock()
        self._is_transactional: bool | None = None

    def write(
        self, topic: str, key: bytes, value: bytes | None, headers: Sequence[Header] = ()
    ) -> TopicPartition:
        """Write a record; answers its partition. KafkaError if it is refused.

        In a transaction what is refused later makes the owner's commit fail.
        """
        doing = f"Writing to {topic}"
        if topic not in self._partitions:
            self._partitions[topic] = self._count(topic)
        with self._asking:
            if self._is_transactional is None:
                self._is_transactional = self._has_transactions(doing)
        where = TopicPartition(topic, java_partition(key, self._partitions[topic]))
        report = report_on(doing)
        self._produce(where, key, value, headers, report)
        if not self._is_transactional:
            self._await(report, doing)
        return where

    def _produce(
        self,
        where: TopicPartition,
        key: bytes,
        value: bytes | None,
        headers: Sequence[Header],
        report: Report,
    ) -> None:
        doing = f"Writing to {where.topic}"
        while True:
            try:
                self._client.produce(
                    where.topic,
                    value=value,
                    key=key,
                    partition=where.partition,
                    on_delivery=report.on_delivery,
                    headers=list(headers),
                )
                return
            except BufferError:
                with _errors(doing):
                    self._client.poll(_FULL_SECONDS)
            except ck.KafkaException as error:
                if error.args[0].code() == ck.KafkaError._STATE:
                    raise _without_transaction(doing) from error
                raise translated(error.args[0], doing) from error
            except RuntimeError as error:
                raise _of_no_use(doing, error) from error

    def _await(self, report: Report, doing: str) -> None:
        # Not flush(), which waits for what the owner sends meanwhile. Another thread may take the
        # report: this one sees it after its own poll.
        deadline = time.monotonic() + LATEST_SECONDS
        while not report.answer.done():
            if time.monotonic() > deadline:
                raise unacknowledged(doing)
            with _errors(doing):
                self._client.poll(_POLL_SECONDS)
            # With delivery.report.only.error nobody hears of a success. Where nothing is on its way
            # any more a failure has been told: librdkafka counts a message until then.
            if len(self._client) == 0:
                break
        if report.answer.done():
            report.answer.result()

    def _has_transactions(self, doing: str) -> bool:
        """Nothing of a producer says so. In a transaction, to begin one is refused, and no more."""
        try:
            self._client.begin_transaction()
        except ck.KafkaException as error:
            return bool(error.args[0].code() != ck.KafkaError._NOT_CONFIGURED)
        except RuntimeError as error:
            raise _of_no_use(doing, error) from error
        self._is_transactional = True  # to be asked once only, as this begins one
        with kafka_errors(doing):
            self._client.abort_transaction(_UNDO_SECONDS)  # empty: the broker does not hear of it
        raise _without_transaction(doing)

    def _count(self, topic: str) -> int:
        # All topics, because to ask for one by its name may create it, with a configuration that
        # loses schedules.
        with _errors(f"Looking up topic {topic}"):
            found = self._client.list_topics(timeout=_LOOK_UP_SECONDS).topics
        if topic not in found or not found[topic].partitions:
            raise KafkaError(missing_text(topic))
        return len(found[topic].partitions)


def _serialises(producer: Producer) -> bool:
    return isinstance(producer, ck.SerializingProducer) or any(
        each.__module__ == "confluent_kafka.avro" for each in type(producer).__mro__
    )


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    with kafka_errors(doing):
        try:
            yield
        except RuntimeError as error:
            if "closed" not in str(error):
                raise  # of one of its owner's own callbacks
            raise _of_no_use(doing, error) from error


def _of_no_use(doing: str, error: RuntimeError) -> KafkaError:
    """What confluent_kafka raises of a producer that its owner has closed."""
    return KafkaError(f"{doing} failed: {error}; the client needs a producer that is open.")


def _without_transaction(doing: str) -> RequestError:
    return RequestError(
        f"{doing} failed: its producer has a transactional.id and no transaction that can go on. "
        "Call begin_transaction() first, and abort_transaction() after a failure."
    )
