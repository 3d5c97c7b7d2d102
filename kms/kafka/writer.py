"""What every producer of the service does; and the one that waits for acknowledgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol

import confluent_kafka as ck

from kms.errors import (
    KafkaError,
    UndeliverableError,
)
from kms.kafka.config import writer_config
from kms.kafka.errors import kafka_errors, translated
from kms.schedule import Header
from kms.settings import Settings
from kms.settings_values import TOPIC_NAME

CALL_SECONDS = 5.0  # how long one call may hold the thread before it looks whether to stop
ANY_PARTITION = -1


class Undelivered(NamedTuple):
    """A message that Kafka refused: whose it was, why, and for which topic."""

    tag: object
    error: KafkaError
    topic: str


class Writer(Protocol):
    """What is common to both: produce now, learn later what was refused."""

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        tag: object,
        partition: int = ANY_PARTITION,
    ) -> None: ...

    def exists(self, topic: str) -> bool: ...

    def refused(self) -> list[Undelivered]: ...


class ProducingWriter:
    """Produces, and keeps what Kafka refused; ``config`` are librdkafka's properties."""

    def __init__(self, config: dict[str, Any]) -> None:
        with kafka_errors("Creating the producer"):
            self._client = ck.Producer(config)
        self._outages = config["error_cb"]
        self._refused: list[Undelivered] = []
        self._give_up: Callable[[], bool] = lambda: False

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        tag: object,
        partition: int = ANY_PARTITION,
    ) -> None:
        """Queue a message; if Kafka refuses it later, ``refused`` names its ``tag``.

        Raises UndeliverableError if it is refused at once. Waits while librdkafka's queue is full.
        """
        while True:
            try:
                self._client.produce(
                    topic,
                    value,
                    key,
                    partition,
                    partial(self._delivered, tag),
                    headers=list(headers),
                )
                return
            except BufferError:
                self._give_up()  # only to be seen waiting: what was begun has to end
                with self._errors(f"Producing to {topic}"):
                    self._client.poll(0.1)
            except ck.KafkaException as error:
                self._raise_refusal(error, f"Producing to {topic}")

    def exists(self, topic: str) -> bool:
        """Whether the topic is there; raises RetriableKafkaError if nobody answers.

        UndeliverableError if it may not be seen or can't exist. Producing to a missing one would
        hold the whole transaction until a timeout.
        """
        if not TOPIC_NAME.fullmatch(topic):
            # librdkafka would be asked in vain, and Python refuses a NUL.
            raise UndeliverableError(
                f"target topic {topic[:300]!r} is no name of a topic",
                "illegal-topic",
                permanent=True,
            )
        with kafka_errors(f"Looking up topic {topic}"):
            found = self._client.list_topics(topic, timeout=CALL_SECONDS).topics[topic]
        leaderless = [each.id for each in found.partitions.values() if each.leader < 0]
        if leaderless:
            raise UndeliverableError(
                f"partition {leaderless[0]} of target topic {topic!r} has no leader", "no-leader"
            )
        if found.error is None:
            return True
        problem = translated(found.error, f"Looking up topic {topic}")
        if found.error.code() in (
            ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
            ck.KafkaError._UNKNOWN_TOPIC,
            ck.KafkaError.TOPIC_EXCEPTION,
        ):
            return False
        raise problem

    def refused(self) -> list[Undelivered]:
        """The messages refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return kafka_errors(doing)

    def _raise_refusal(self, error: ck.KafkaException, doing: str) -> NoReturn:
        raise translated(error.args[0], doing) from error

    def _delivered(self, tag: object, error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            topic = message.topic() or ""
            problem = translated(error, f"Producing to {topic}")
            if error.code() == ck.KafkaError._MSG_TIMED_OUT:
                problem = UndeliverableError(str(problem), "unacknowledged")
            self._refused.append(Undelivered(tag, problem, topic))


class PlainWriter(ProducingWriter):
    """An idempotent producer without transactions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(writer_config(settings))

    def start(self, give_up: Callable[[], bool]) -> None:
        """``give_up`` is called now and then while it waits."""
        self._give_up = give_up

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all is acknowledged or refused; False if the time did not do."""
        return self._client.flush(timeout_seconds) == 0
