"""The consumer of the schedule topics: records out, assignments in."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import confluent_kafka as ck

from kms.kafka.config import reader_config, rebalance_timeout_ms
from kms.kafka.errors import is_hopeless, kafka_errors, translated
from kms.kafka.headers import headers_of
from kms.kafka.values import TopicPartition
from kms.schedule import Record, stand_in_id
from kms.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought, by partition, in order of offset.

    ``ends`` are the offsets at which a partition's end was reported: everything stable before
    them was delivered. ``gone`` are partitions whose position the log no longer holds.
    """

    records: Mapping[TopicPartition, list[Record]]
    ends: Mapping[TopicPartition, int]
    gone: frozenset[TopicPartition]
    count: int


class AssignmentListener(Protocol):
    """Told of every change of the assignment, from inside ``TopicReader.poll`` and ``close``."""

    def assigned(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These are ours from now on; answers the offset to read each from."""

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """These go to somebody else once this returns."""

    def lost(self, partitions: list[TopicPartition]) -> None:
        """These belong to somebody else already."""


class TopicReader:
    """A consumer group member; for one thread, which also gets the listener's calls.

    ``group_metadata`` is as of the last poll: other threads take it from here, for asking the
    consumer itself starves behind its poll (measured, design section 3).
    """

    def __init__(self, settings: Settings, listener: AssignmentListener) -> None:
        self._listener = listener
        config = reader_config(settings)
        with kafka_errors("Creating the consumer"):
            self._client = ck.Consumer(config)
        self._outages = config["error_cb"]
        self._said: set[str] = set()
        self._paused: set[TopicPartition] = set()
        self._topics: tuple[str, ...] = ()
        # A static member has no member id while it waits for the others to join.
        patience_ms = rebalance_timeout_ms(settings) + 2 * settings.kms_session_timeout_ms
        self._patience_seconds = patience_ms / 1000
        self._session_seconds = settings.kms_session_timeout_ms / 1000
        self._member_at = time.monotonic()
        self.group_metadata: Any = None

    def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group; partitions arrive through the listener while polling."""
        self._topics = tuple(topics)
        self._client.subscribe(
            list(self._topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, limit: int, timeout_seconds: float) -> Polled:
        """At most ``limit`` records, as soon as there is one; nothing after the timeout.

        Raises FencedError or KafkaError where the consumer can't go on.
        """
        # consume(n, timeout) would wait for n messages or the whole timeout.
        first = self._client.poll(timeout_seconds)
        messages = [] if first is None else [first, *self._client.consume(limit - 1, 0)]
        self._take_metadata()
        return self._sorted(messages)

    def read_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go on reading assigned partitions from other offsets, those that were paused too."""
        for partition, offset in offsets.items():
            # First: the seek drops whatever is fetched from where it was paused.
            self._resume([partition])
            with kafka_errors(f"Seeking {partition}"):
                self._client.seek(ck.TopicPartition(*partition, offset))

    def pause(self, partition: TopicPartition) -> None:
        """Deliver no more of a partition until ``read_from``, or until it is assigned again.

        What one poll has brought already is the caller's to leave out.
        """
        self._paused.add(partition)
        with kafka_errors(f"Pausing {partition}"):
            self._client.pause([ck.TopicPartition(*partition)])

    def close(self) -> None:
        """Leave the group (a static member stays in it until its session ends)."""
        self._client.close()

    def _resume(self, partitions: Iterable[TopicPartition]) -> None:
        found = [each for each in partitions if each in self._paused]
        self._paused.difference_update(found)
        if found:
            with kafka_errors("Resuming partitions"):
                self._client.resume([ck.TopicPartition(*each) for each in found])

    def _take_metadata(self) -> None:
        # Without a member id the coordinator takes offsets unchecked, as it must from clients
        # older than KIP-447: metadata taken while out of the group would fence nobody.
        before = self._client.memberid()
        metadata = self._client.consumer_group_metadata()
        if before and before == self._client.memberid():
            self.group_metadata = metadata
            self._member_at = time.monotonic()
            return
        out_seconds = time.monotonic() - self._member_at
        if out_seconds > self._patience_seconds:
            # Seen after an outage: the assignment was lost and the client never joined again.
            _log.warning("Out of the consumer group for %.0f s; joining anew.", out_seconds)
            self._member_at = time.monotonic()
            self._client.unsubscribe()
            self.subscribe(self._topics)
        elif out_seconds > self._session_seconds:
            # Of brokers that close each connection, as behind a proxy, librdkafka may say nothing.
            self._outages.say(f"Kafka: out of the consumer group for {out_seconds:.0f} s")

    def _sorted(self, messages: list[ck.Message]) -> Polled:
        records: dict[TopicPartition, list[Record]] = {}
        ends: dict[TopicPartition, int] = {}
        gone: set[TopicPartition] = set()
        count = 0
        for message in messages:
            error = message.error()
            # As a plain tuple, which is made faster and equals a TopicPartition.
            at = message.topic() or "", message.partition() or 0
            if error is not None:
                self._sort_error(error, TopicPartition(*at), message.offset() or 0, ends, gone)
                continue
            found = records.get(at)  # type: ignore[call-overload]
            if found is None:
                found = records[TopicPartition(*at)] = []
            offset = message.offset() or 0
            key = message.key()
            schedule_id = stand_in_id(offset) if key is None else key
            written_ms = max(message.timestamp()[1], 0)
            headers = headers_of(message)
            found.append(Record(offset, schedule_id, message.value(), headers, written_ms))
            count += 1
        return Polled(records, ends, frozenset(gone), count)

    def _sort_error(
        self,
        error: ck.KafkaError,
        where: TopicPartition,
        offset: int,
        ends: dict[TopicPartition, int],
        gone: set[TopicPartition],
    ) -> None:
        if error.code() == ck.KafkaError._PARTITION_EOF:
            ends[where] = offset
        elif error.code() == ck.KafkaError._AUTO_OFFSET_RESET:
            gone.add(where)
        else:
            self._judge(error, where)

    def _judge(self, error: ck.KafkaError, where: TopicPartition) -> None:
        if error.code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._say_once(
                f"Schedule topic {where.topic} does not exist; waiting until it is created "
                "(python kms.py topics create)."
            )
            return
        if is_hopeless(error):
            raise translated(error, "Reading the schedule topics")
        _log.debug("%s: %s", where, error)  # error_cb says outages

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)

    def _on_assign(self, client: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        offsets = self._listener.assigned(_names(partitions))
        client.incremental_assign(
            [ck.TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        )
        self._resume(offsets)

    def _on_revoke(self, client: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._listener.revoked(_names(partitions))
        client.incremental_unassign(partitions)

    def _on_lost(self, client: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._listener.lost(_names(partitions))
        client.incremental_unassign(partitions)


def _names(partitions: Iterable[ck.TopicPartition]) -> list[TopicPartition]:
    return [TopicPartition(found.topic, found.partition) for found in partitions]
