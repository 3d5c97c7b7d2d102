"""The producers: one that fires in transactions, one that waits for acknowledgements."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol

import confluent_kafka as ck

from kms.errors import (
    AbortTransactionError,
    BrokenProducerError,
    CommitInDoubtError,
    FencedError,
    KafkaError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.kafka.bounded import BoundedCalls
from kms.kafka.config import transactional_config, transactional_id, writer_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.values import TopicPartition
from kms.schedule import Header
from kms.settings import Settings
from kms.settings_values import TOPIC_NAME
from kms.times import now_ms

_CALL_SECONDS = 5.0  # how long one call may hold the thread before it looks whether to stop
_OFFSETS_SECONDS = 2.0
_ANY_PARTITION = -1


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
        partition: int = _ANY_PARTITION,
    ) -> None: ...

    def exists(self, topic: str) -> bool: ...

    def refused(self) -> list[Undelivered]: ...


class _Producer:
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
        partition: int = _ANY_PARTITION,
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
            found = self._client.list_topics(topic, timeout=_CALL_SECONDS).topics[topic]
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


class TransactionalWriter(_Producer):
    """A transactional, idempotent producer: all of a batch or nothing (KIP-98, KIP-447).

    Every method raises AbortTransactionError when the running transaction must be aborted,
    FencedError when another instance took over, BrokenProducerError when only a new producer can
    go on: also where the broker ended a transaction at its timeout. While the cluster is away it
    tries again, until ``give_up`` (see ``start``) says so: then it raises RetriableKafkaError.
    """

    def __init__(self, settings: Settings, purpose: str = "") -> None:
        super().__init__(transactional_config(settings, purpose))
        self.purpose = purpose
        self._calls = BoundedCalls("transactions")
        self._id = transactional_id(settings, purpose)
        self._timeout_seconds = settings.kms_transaction_timeout_ms / 1000
        self._began_at = self._began_ms = math.inf

    def start(self, give_up: Callable[[], bool]) -> None:
        """Get the producer's id; ends at once what a former run left open."""
        self._give_up = give_up
        self._until_done(f"Starting transactions as {self._id}", self._client.init_transactions)

    def begin(self) -> None:
        """Start a transaction."""
        self._began_at, self._began_ms = time.monotonic(), now_ms()
        with kafka_errors("Beginning a transaction"):
            self._client.begin_transaction()

    def flush(self) -> None:
        """Wait until all that was produced lies in the log; what was refused does not."""
        deadline = time.monotonic() + self._timeout_seconds
        with self._errors("Producing"):
            while self._client.flush(_CALL_SECONDS):
                if self._give_up() or time.monotonic() > deadline:
                    raise AbortTransactionError("Kafka did not acknowledge all messages in time")

    def commit(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        """Send the consumer's offsets, if there are any, and commit.

        The group coordinator refuses the offsets of an instance that no longer owns the
        partitions, and with them everything in the transaction. CommitInDoubtError if Kafka does
        not say whether it was committed.
        """
        if offsets:
            self._send_offsets(offsets, group_metadata)
        try:
            self._until_done("Committing a transaction", self._client.commit_transaction)
        except BrokenProducerError as error:
            # A new producer could not tell, and firing again might be twice. A start can: it waits
            # until it is decided, and reads the answer from the topic.
            raise CommitInDoubtError(
                f"Whether a transaction was committed is not known: {error}. Who begins anew finds "
                "out: nothing is lost or sent twice."
            ) from error

    def abort(self) -> None:
        """Undo everything since ``begin``; BrokenProducerError if that can't be had in time."""
        # Seen after a broker's restart: librdkafka times out for ever. By then the broker has
        # ended the transaction itself, and a new producer starts where it stands.
        deadline = time.monotonic() + self._timeout_seconds
        self._until_done("Aborting a transaction", self._client.abort_transaction, deadline)

    def _raise_refusal(self, error: ck.KafkaException, doing: str) -> NoReturn:
        problem, code = translated(error.args[0], doing), error.args[0].code()
        doing = "A transaction"
        # It failed while its batch was still being produced. With what, librdkafka tells who tries
        # to end it: to abort where it is fatal, else to commit, which what failed can't be.
        if code == ck.KafkaError._FATAL:
            with suppress(RetriableKafkaError), self._errors(doing):
                self._calls.call(doing, self._client.abort_transaction, _CALL_SECONDS)
            raise BrokenProducerError(str(problem)) from error
        if code != ck.KafkaError._STATE and not isinstance(problem, AbortTransactionError):
            raise problem from error
        with self._errors(doing):
            self._calls.call(doing, self._client.commit_transaction, _CALL_SECONDS)
        raise KafkaError("A failed transaction was committed. Start again.") from error

    def _send_offsets(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        positions = [ck.TopicPartition(*where, offset) for where, offset in offsets.items()]
        doing = "Sending offsets to the transaction"
        try:
            with self._errors(doing):
                self._calls.call(
                    doing,
                    lambda seconds: self._client.send_offsets_to_transaction(
                        positions, group_metadata, seconds
                    ),
                    _OFFSETS_SECONDS,
                )
        except RetriableKafkaError as error:
            # Not again: in a rebalance the group waits for this transaction to end, and what it
            # is sent has the old generation. The next transaction takes fresh metadata.
            raise AbortTransactionError(str(error)) from error

    def _until_done(
        self, doing: str, call: Callable[[float], None], deadline: float = math.inf
    ) -> None:
        while True:
            try:
                with self._errors(doing):
                    return self._calls.call(doing, call, _CALL_SECONDS)
            except RetriableKafkaError as error:
                if self._give_up():
                    raise
                if time.monotonic() > deadline:
                    raise BrokenProducerError(str(error)) from error
                self._outages.say(str(error))
                time.sleep(0.01)  # librdkafka has waited already, unless it failed at once

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            with kafka_errors(doing):
                yield
        except FencedError as error:
            raise self._unless_late(error) from error

    def _unless_late(self, error: FencedError) -> KafkaError:
        """The same, unless the broker has fenced this producer at its transaction's timeout.

        It answers as if another instance had done that, and librdkafka makes no difference.
        """
        # The one clock may stand still while a machine is suspended, the other one may be set.
        by_wall_seconds = (now_ms() - self._began_ms) / 1000
        age_seconds = max(time.monotonic() - self._began_at, by_wall_seconds)
        if age_seconds < self._timeout_seconds:
            return error
        return BrokenProducerError(
            f"a transaction was not at its end after {age_seconds:.0f} s, and Kafka ends them "
            f"after {self._timeout_seconds:.0f} (KMS_TRANSACTION_TIMEOUT_MS)"
        )


class PlainWriter(_Producer):
    """An idempotent producer without transactions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(writer_config(settings))

    def start(self, give_up: Callable[[], bool]) -> None:
        """``give_up`` is called now and then while it waits."""
        self._give_up = give_up

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all is acknowledged or refused; False if the time did not do."""
        return self._client.flush(timeout_seconds) == 0
