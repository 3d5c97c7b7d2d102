"""The report on each message, for who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import confluent_kafka as ck

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.errors import translated
from kms.kafka.values import TopicPartition

TIMEOUT_SECONDS = 20.0  # of a message
LATER_SECONDS = 5.0  # the report of one that timed out comes a moment after its time
LATEST_SECONDS = TIMEOUT_SECONDS + LATER_SECONDS


class Report(NamedTuple):
    """``on_delivery`` is what librdkafka is to call; ``answer`` then has the partition.

    Or it raises UndeliverableError, RetriableKafkaError or KafkaError. It can't be called back.
    """

    answer: Future[TopicPartition]
    on_delivery: Callable[[ck.KafkaError | None, ck.Message], None]


def report_on(doing: str) -> Report:
    """The report that is to come; ``doing`` begins the sentence of what it raises."""
    answer: Future[TopicPartition] = Future()
    answer.set_running_or_notify_cancel()
    return Report(answer, partial(_reported, answer, doing))


def unacknowledged(doing: str) -> RetriableKafkaError:
    """Where the report does not come in time."""
    return RetriableKafkaError(
        f"{doing} was not acknowledged in time; it may have been written all the same."
    )


def _reported(
    answer: Future[TopicPartition], doing: str, error: ck.KafkaError | None, message: ck.Message
) -> None:
    if error is None:
        answer.set_result(TopicPartition(message.topic() or "", int(message.partition() or 0)))
    else:
        answer.set_exception(_problem(error, doing))


def _problem(error: ck.KafkaError, doing: str) -> KafkaError:
    if error.code() == ck.KafkaError._MSG_TIMED_OUT:
        return unacknowledged(doing)
    return translated(error, doing)
