"""The producer that fires in transactions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

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
from kms.kafka.config import transactional_config, transactional_id
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.values import TopicPartition
from kms.kafka.writer import CALL_SECONDS, ProducingWriter
from kms.settings import Settings
from kms.times import now_ms

_OFFSETS_SECONDS = 2.0


class TransactionalWriter(ProducingWriter):
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
            while self._client.flush(CALL_SECONDS):
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
                self._calls.call(doing, self._client.abort_transaction, CALL_SECONDS)
            raise BrokenProducerError(str(problem)) from error
        if code != ck.KafkaError._STATE and not isinstance(problem, AbortTransactionError):
            raise problem from error
        try:
            with self._errors(doing):
                self._calls.call(doing, self._client.commit_transaction, CALL_SECONDS)
        except UndeliverableError as refusal:  # of another message, sent before this one
            raise AbortTransactionError(str(refusal)) from refusal
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
                    return self._calls.call(doing, call, CALL_SECONDS)
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
