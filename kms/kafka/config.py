"""The librdkafka properties of each client, with the reason for each that is not the default."""

from __future__ import annotations

import hashlib
import logging
import socket
from typing import Any

import confluent_kafka as ck

from kms.errors import SettingsError
from kms.kafka.stores import store_properties
from kms.kafka_properties import is_secret
from kms.repeats import Repeats, more
from kms.settings import Settings
from kms.settings_sources import sentence_start

_log = logging.getLogger(__name__)

# Connections, which error_cb says, once; failed transactions, which the producer says.
_SAID_BY_KMS = ("FAIL", "ERROR", "TXNERR", "ADDPARTS", "ADDOFFSETS")
_HEARTBEAT_MS = 500
_SHORTEST_REBALANCE_MS = 60_000
_LARGEST_MESSAGE = 100_000_000  # bytes; what consumers of librdkafka take at most by default


def transactional_id(settings: Settings, purpose: str = "") -> str:
    """Stable for this instance and unique in the group: the next start fences this one.

    A ``purpose`` keeps it apart from the service.
    """
    suffix = f"-{purpose}" if purpose else ""
    return f"kms-{settings.consumer_group_id}-{instance_name(settings)}{suffix}"


def instance_name(settings: Settings) -> str:
    """What this instance is called, unique in its group.

    By default made of the host name and the cache's path, so that two on one host differ.
    """
    if settings.kms_instance_id is not None:
        return settings.kms_instance_id
    path = hashlib.sha256(str(settings.kms_cache.absolute()).encode()).hexdigest()[:12]
    return f"{socket.gethostname()}-{path}"


def reader_config(settings: Settings) -> dict[str, Any]:
    """For the consumer of the schedule topics."""
    config: dict[str, Any] = {
        "client.id": _client_id(settings),  # by which check knows our members
        "group.id": settings.consumer_group_id,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "partition.assignment.strategy": "cooperative-sticky",
        # Every partition starts at an offset of ours; one that is gone must be noticed.
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "session.timeout.ms": settings.kms_session_timeout_ms,
        # A member learns by its heartbeat that partitions are to move. At a quarter of the session
        # nothing of those fired for 3 s (measured, ./scripts/bench rolling).
        "heartbeat.interval.ms": min(settings.kms_session_timeout_ms // 4, _HEARTBEAT_MS),
        "max.poll.interval.ms": rebalance_timeout_ms(settings),
        # A schedule topic or partition that appears later is found within this time.
        "topic.metadata.refresh.interval.ms": 10_000,
        # The default pauses a partition for a second whenever the queue is full.
        "fetch.queue.backoff.ms": 20,
        "queued.min.messages": 20_000,
    }
    if settings.kms_instance_id is not None:
        config["group.instance.id"] = settings.kms_instance_id
    return common_config(settings) | config


def rebalance_timeout_ms(settings: Settings) -> int:
    """How long the group waits for a member at most before it goes on without it.

    Seen after a broker was restarted twice in a row: it waits that long for members that are dead.
    Longer than giving partitions up may take, with a transaction to end.
    """
    return max(
        _SHORTEST_REBALANCE_MS,
        2 * settings.kms_transaction_timeout_ms,
        settings.kms_session_timeout_ms,
    )


def writer_config(settings: Settings) -> dict[str, Any]:
    """For a producer without transactions: acknowledged by all replicas, in order, once."""
    # The target topic decides what is too large for it; a limit of the user's own goes before.
    return (
        {"message.max.bytes": _LARGEST_MESSAGE}
        | common_config(settings)
        | {
            "enable.idempotence": True,
            # Where a Java producer would put them, so that consumers find keys where they were.
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            # A topic that was just created is given this long to show up. That one was deleted is
            # noticed this soon: a transaction that produces to it hangs until its timeout.
            "topic.metadata.propagation.max.ms": 5_000,
            "topic.metadata.refresh.interval.ms": 5_000,
        }
    )


def transactional_config(settings: Settings, purpose: str = "") -> dict[str, Any]:
    """For the producer that fires in transactions."""
    return writer_config(settings) | {
        "transactional.id": transactional_id(settings, purpose),
        "transaction.timeout.ms": settings.kms_transaction_timeout_ms,
        # The broker answers CONCURRENT_TRANSACTIONS while the last markers are written; with the
        # default of 100 ms every transaction in a row would wait as long (design section 3).
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 10,
    }


def common_config(settings: Settings) -> dict[str, Any]:
    """What every client needs to reach the cluster."""
    oauth_cb = settings.kafka.oauth_cb
    return {
        "client.id": _client_id(settings),
        **settings.kafka_properties(),
        **({} if oauth_cb is None else {"oauth_cb": oauth_cb}),
        **store_properties(settings),
        "bootstrap.servers": settings.kafka_brokers,
        "security.protocol": settings.security_protocol,
        "log.connection.close": False,
        "error_cb": Outages(),
        "logger": _librdkafka_log("debug" in settings.kafka),
    }


def _client_id(settings: Settings) -> str:
    return f"kms-{settings.kms_instance_id or socket.gethostname()}"


def checked_properties(settings: Settings) -> None:
    """Refuse, with a sentence, what librdkafka does not know, or can't use: keys, certificates."""
    properties = settings.kafka_properties()
    config = {**properties, **store_properties(settings), "log_level": 0}
    protocol = settings.security_protocol
    if protocol.startswith("SASL") and not properties.keys() & {
        "sasl.mechanism",
        "sasl.mechanisms",
    }:
        # librdkafka's default is GSSAPI, which it can't do as it is delivered.
        raise SettingsError(
            f"{sentence_start(settings.source('security_protocol'))} is {protocol}, so "
            "KAFKA_SASL_MECHANISM must say which: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or "
            "OAUTHBEARER."
        )
    try:
        ck.Producer({**config, "security.protocol": protocol})
    except ck.KafkaException as error:
        reason = error.args[0].str()
        # Longest first: ssl.key.location also holds the name of a property ssl.key.
        for name in sorted(properties, key=len, reverse=True):
            if name in reason:
                told = "" if is_secret(name) else f": {reason}"
                source = sentence_start(settings.kafka_source(name))
                raise SettingsError(f"{source} is refused by librdkafka{told}.") from error
        raise SettingsError(f"librdkafka refuses its properties: {reason}.") from error


class Outages:
    """Says that Kafka is out of reach in one line, not in one for every attempt and client."""

    def __call__(self, error: ck.KafkaError) -> None:
        if not error.fatal():  # which the next call of the client raises
            self.say(f"Kafka: {error.str()} ({error.name()})")

    def say(self, problem: str) -> None:
        """For whoever learns of an outage without librdkafka's calling: it may be silent."""
        unsaid = _outages.unsaid("all")
        if unsaid is not None:
            _log.warning("%s; trying again.%s", problem, more(unsaid))


_outages = Repeats()  # of all clients of the process: they lose Kafka together


def _librdkafka_log(everything: bool) -> logging.Logger:
    log = logging.getLogger("librdkafka")
    if everything:
        log.removeFilter(_worth_saying)  # KAFKA_DEBUG was set to see it
    else:
        log.addFilter(_worth_saying)
    return log


def _worth_saying(record: logging.LogRecord) -> bool:
    # Below error it tells of its own retries.
    return record.levelno >= logging.ERROR and not record.getMessage().startswith(_SAID_BY_KMS)
