"""Which of librdkafka's errors are refusals, and for how long they count."""

from __future__ import annotations

import confluent_kafka as ck
import pytest

from kms.errors import AbortTransactionError, FencedError, KafkaError, UndeliverableError
from kms.kafka import refusals
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.refusals import Refusals

ALERT = "ssl://b:1/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert (after 0ms)"


class Clock:
    """Stands for the module ``time``."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(refusals, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("code", "text", "setting"),
    [
        (ck.KafkaError._AUTHENTICATION, "SASL authentication error", "KAFKA_SASL_PASSWORD"),
        (ck.KafkaError._SSL, "certificate verify failed", "TRUSTSTORE_LOCATION"),
        (ck.KafkaError._TRANSPORT, ALERT, "KEYSTORE_LOCATION"),
    ],
)
def test_a_refusal_names_the_setting(code: int, text: str, setting: str) -> None:
    others: list[ck.KafkaError] = []
    found = Refusals(others.append)
    found(ck.KafkaError(code, text))
    assert text in found.reason
    assert setting in found.reason
    assert others == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ck.KafkaError._TRANSPORT, "Connect to ipv4#127.0.0.1:1 failed: Connection refused"),
        (ck.KafkaError._TRANSPORT, "SSL handshake failed: Disconnected"),
        (ck.KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"),
        (ck.KafkaError._RESOLVE, "Failed to resolve 'b:1'"),
    ],
)
def test_what_waiting_may_heal_goes_on(code: int, text: str) -> None:
    others: list[ck.KafkaError] = []
    found = Refusals(others.append)
    found(ck.KafkaError(code, text))
    assert found.reason == ""
    assert found.seconds == 0
    assert len(others) == 1


def test_how_long_it_has_been_refused(clock: Clock) -> None:
    found, refusal = Refusals(), ck.KafkaError(ck.KafkaError._AUTHENTICATION, "no")
    found(refusal)
    assert found.reason
    assert found.seconds == 0
    clock.now += 3
    found(refusal)
    assert found.seconds == 3
    clock.now += 100  # whatever it was, it is over
    assert found.reason == ""
    assert found.seconds == 0
    found(refusal)
    assert found.seconds == 0


@pytest.mark.parametrize(
    ("code", "acl"),
    [
        (ck.KafkaError.GROUP_AUTHORIZATION_FAILED, "READ on the group"),
        (ck.KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "WRITE on the transactional id"),
        (ck.KafkaError.TOPIC_AUTHORIZATION_FAILED, "WRITE on a target topic"),
    ],
)
def test_a_missing_acl_is_named(code: int, acl: str) -> None:
    error = translated(ck.KafkaError(code), "Doing something")
    assert f"the ACLs must allow {acl}" in str(error).replace(
        "READ and WRITE on a schedule topic, ", ""
    )
    assert "docs/security.md" in str(error)
    expected = code == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert type(error) is (UndeliverableError if expected else KafkaError)


def test_a_static_member_that_joined_anew_fences_its_own_offsets() -> None:
    """The transaction is aborted; another instance with its name is told by the consumer."""
    code = ck.KafkaError.FENCED_INSTANCE_ID
    of_offsets = translated(ck.KafkaError(code, txn_requires_abort=True), "Sending offsets")
    assert isinstance(of_offsets, AbortTransactionError)
    assert isinstance(translated(ck.KafkaError(code), "Polling"), FencedError)


def test_what_is_fatal_may_come_in_the_middle_of_a_callback() -> None:
    error = SystemError("returned a result with an exception set")
    error.__cause__ = ck.KafkaException(ck.KafkaError(ck.KafkaError._FENCED))
    with pytest.raises(FencedError), kafka_errors("Flushing"):
        raise error
    with pytest.raises(SystemError), kafka_errors("Flushing"):
        raise SystemError("Python's own")
