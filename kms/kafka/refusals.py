"""What librdkafka takes for a network that may heal: a wrong password, an untrusted certificate."""

from __future__ import annotations

import time
from collections.abc import Callable

import confluent_kafka as ck

_RECENT_SECONDS = 15.0  # librdkafka's longest pause between two attempts is 10


class Refusals:
    """An ``error_cb`` that keeps refusals, and hands all else to another one.

    ``reason`` is the sentence for the latest of a moment ago, else empty; ``seconds`` for how long
    there has been nothing else.
    """

    def __init__(self, otherwise: Callable[[ck.KafkaError], None] = lambda _: None) -> None:
        self._otherwise = otherwise
        self._since = self._at = 0.0
        self._reason = ""

    def __call__(self, error: ck.KafkaError) -> None:
        reason = _refusal(error)
        if reason is None:
            self._otherwise(error)
            return
        if not self.reason:
            self._since = time.monotonic()
        self._at, self._reason = time.monotonic(), reason

    @property
    def reason(self) -> str:
        return self._reason if time.monotonic() - self._at < _RECENT_SECONDS else ""

    @property
    def seconds(self) -> float:
        return self._at - self._since if self.reason else 0.0


def _refusal(error: ck.KafkaError) -> str | None:
    """The sentence for an error that waiting does not heal."""
    text = error.str()
    if error.code() == ck.KafkaError._AUTHENTICATION:
        return (
            f"Kafka does not let kms in: {text}. Check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME "
            "and KAFKA_SASL_PASSWORD."
        )
    if error.code() == ck.KafkaError._SSL:
        return (
            f"kms does not trust the brokers: {text}. Check TRUSTSTORE_LOCATION (or "
            "KAFKA_SSL_CA_LOCATION), and that KAFKA_BROKERS has the host names of their "
            "certificates."
        )
    # With TLS 1.3 the broker's refusal arrives after the handshake, as a failed read.
    if error.code() == ck.KafkaError._TRANSPORT and "alert" in text:
        return (
            f"Kafka does not accept the client certificate: {text}. Check KEYSTORE_LOCATION (or "
            "KAFKA_SSL_CERTIFICATE_LOCATION)."
        )
    return None
