"""Kafka's errors sorted into what kms does about them: try again, abort, end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka as ck

from kms import errors

_FENCED = {
    ck.KafkaError._FENCED,
    ck.KafkaError.FENCED_INSTANCE_ID,
    ck.KafkaError.PRODUCER_FENCED,
    ck.KafkaError.INVALID_PRODUCER_EPOCH,
}

# Seen after cut connections: producer and broker count the batches of a partition differently.
# Where that is not fatal, the transaction is aborted like any other.
_BROKEN_IF_FATAL = {
    ck.KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ck.KafkaError.UNKNOWN_PRODUCER_ID,
}

# The group moved on while a transaction ran: its offsets are refused, the next one may pass.
_ABORTABLE = {
    ck.KafkaError.ILLEGAL_GENERATION,
    ck.KafkaError.UNKNOWN_MEMBER_ID,
    ck.KafkaError.REBALANCE_IN_PROGRESS,
}

_RETRIABLE = {
    ck.KafkaError._NOENT,  # an admin look-up found no leader: the broker is just starting
    ck.KafkaError._NODE_UPDATE,
    ck.KafkaError.BROKER_NOT_AVAILABLE,
    ck.KafkaError.REPLICA_NOT_AVAILABLE,
    ck.KafkaError.NETWORK_EXCEPTION,
    ck.KafkaError.KAFKA_STORAGE_ERROR,
    ck.KafkaError.FENCED_LEADER_EPOCH,
    ck.KafkaError.UNKNOWN_LEADER_EPOCH,
    ck.KafkaError.OFFSET_NOT_AVAILABLE,
    ck.KafkaError.NOT_ENOUGH_REPLICAS,
    ck.KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ck.KafkaError._TRANSPORT,
    ck.KafkaError._ALL_BROKERS_DOWN,
    ck.KafkaError._TIMED_OUT,
    ck.KafkaError._TIMED_OUT_QUEUE,
    ck.KafkaError._WAIT_COORD,
    ck.KafkaError._WAIT_CACHE,
    ck.KafkaError._RESOLVE,
    ck.KafkaError._IN_PROGRESS,
    ck.KafkaError.REQUEST_TIMED_OUT,
    ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
    ck.KafkaError.NOT_COORDINATOR,
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.CONCURRENT_TRANSACTIONS,
    ck.KafkaError.UNSTABLE_OFFSET_COMMIT,
}

# Waiting heals none of these; somebody has to change something.
_HOPELESS = {
    ck.KafkaError._AUTHENTICATION,
    ck.KafkaError._INVALID_ARG,
    ck.KafkaError._UNSUPPORTED_FEATURE,
    ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ck.KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    ck.KafkaError.INVALID_GROUP_ID,
    ck.KafkaError.INVALID_SESSION_TIMEOUT,
    ck.KafkaError.SASL_AUTHENTICATION_FAILED,
    ck.KafkaError.SECURITY_DISABLED,
    ck.KafkaError.UNSUPPORTED_SASL_MECHANISM,
    ck.KafkaError.UNSUPPORTED_VERSION,
}

# Of one message: why, and whether that is for good.
_UNDELIVERABLE = {
    ck.KafkaError._UNKNOWN_TOPIC: ("topic-missing", False),
    ck.KafkaError._UNKNOWN_PARTITION: ("topic-missing", False),
    ck.KafkaError.UNKNOWN_TOPIC_OR_PART: ("topic-missing", False),
    ck.KafkaError.TOPIC_EXCEPTION: ("illegal-topic", True),
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED: ("not-authorised", False),
    ck.KafkaError.MSG_SIZE_TOO_LARGE: ("too-large", True),
    ck.KafkaError.RECORD_LIST_TOO_LARGE: ("too-large", True),
    ck.KafkaError.INVALID_MSG: ("refused", True),
    ck.KafkaError.INVALID_RECORD: ("refused", True),
    ck.KafkaError.POLICY_VIOLATION: ("refused", False),
}


# What nobody has allowed yet; docs/security.md has the commands.
_ACLS = {
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED: "READ on the group",
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "READ and WRITE on a schedule topic, WRITE on a target topic"
    ),
    ck.KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "WRITE on the transactional id",
}


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Translate what confluent_kafka raises inside; ``doing`` begins the sentence."""
    try:
        yield
    except ck.KafkaException as error:
        raise translated(error.args[0], doing) from error
    except SystemError as error:
        # Seen: confluent_kafka raises what is fatal to a client while it still calls our callbacks.
        if isinstance(error.__cause__, ck.KafkaException):
            raise translated(error.__cause__.args[0], doing) from error
        raise


def translated(error: ck.KafkaError, doing: str) -> errors.KafkaError:
    """The kms error for one of Kafka's, by the design's three kinds (section 6)."""
    text = f"{doing} failed: {error.str()} ({error.name()})"
    code = error.code()
    if code in _ACLS:
        text += f"; the ACLs must allow {_ACLS[code]}, see docs/security.md"
    if code == ck.KafkaError.FENCED_INSTANCE_ID and error.txn_requires_abort():
        # The offsets of a static member that was paused and has joined anew: it was fenced by
        # itself. If it was by another instance, the consumer is told too, and ends.
        return errors.AbortTransactionError(text)
    # A consumer's fatal errors come as _FATAL, with the cause in the text only.
    if code in _FENCED or (code == ck.KafkaError._FATAL and "fenced" in error.str()):
        return errors.FencedError(
            f"{text}. Another instance runs with the same identity, or took over while this one "
            "was paused: each needs its own KMS_INSTANCE_ID and KMS_CACHE."
        )
    if code == ck.KafkaError.INVALID_TXN_STATE:
        # Seen after a broker's restart: what was to be aborted had never reached it.
        return errors.BrokenProducerError(text)
    if error.fatal():
        if code in _BROKEN_IF_FATAL:
            return errors.BrokenProducerError(text)
        return errors.KafkaError(text)
    if code in _UNDELIVERABLE:
        reason, permanent = _UNDELIVERABLE[code]
        return errors.UndeliverableError(text, reason, permanent=permanent)
    if error.txn_requires_abort() or code in _ABORTABLE:
        return errors.AbortTransactionError(text)
    if error.retriable() or code in _RETRIABLE:
        return errors.RetriableKafkaError(text)
    return errors.KafkaError(text)


def is_hopeless(error: ck.KafkaError) -> bool:
    """Whether a consumer that got this error can only end; librdkafka retries all others."""
    return error.fatal() or error.code() in _HOPELESS | _FENCED | {ck.KafkaError._FATAL}
