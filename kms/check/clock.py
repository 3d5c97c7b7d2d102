"""This machine's clock: kept by anybody, and beside the brokers'.

Kafka tells its time to nobody who only reads. What a broker dates is the records of topics with
LogAppendTime and the end of every transaction; so the newest of these shows a clock that is behind,
and a message written on purpose shows one that is ahead, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

from kms.check.finding import Finding, error, ok, skipped, warning
from kms.errors import KafkaError
from kms.kafka import Examiner, Probe, Probed, TopicPartition
from kms.settings import Settings
from kms.times import duration_text, now_ms

_SUBJECT = "clock"
_SMALL_MS = 1_000
_LARGE_MS = 60_000
_ADVICE = "Schedules fire by this machine's clock: keep it, and the brokers', by NTP."
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_TIMEX_BYTES = 512  # more than struct timex has anywhere


def check_kept() -> Finding:
    """Whether the kernel says that something keeps the clock right."""
    try:
        # With no mode set it only asks.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        state = -1
    if state == -1:
        return skipped("clock-kept", _SUBJECT, "the kernel does not say whether it is synchronised")
    if state == _UNSYNCHRONISED:
        return warning(
            *("clock-kept", _SUBJECT, "the kernel says that it is not synchronised"),
            f"{_ADVICE} chrony or systemd-timesyncd does that.",
        )
    return ok("clock-kept", _SUBJECT, "synchronised, the kernel says")


def check_newest(examiner: Examiner, partitions: Sequence[TopicPartition]) -> Finding:
    """Whether something in the schedule topics is dated in the future; it only reads."""
    try:
        newest = examiner.newest_ms(partitions)
    except KafkaError as problem:
        return skipped("clock-newest", _SUBJECT, f"no timestamps could be read: {problem}")
    if not newest:
        return skipped("clock-newest", _SUBJECT, "nothing in the schedule topics to compare with")
    where, latest_ms = max(newest.items(), key=lambda each: each[1])
    ahead_ms = latest_ms - now_ms()
    if ahead_ms > _SMALL_MS:
        return warning(
            *("clock-newest", _SUBJECT),
            f"the newest in {where} is dated {ahead_ms / 1000:.1f} s from now",
            "Either this clock is behind, and everything fires late, or that of whoever wrote it "
            f"is ahead. {_ADVICE}",
        )
    age = duration_text(max(-ahead_ms, 0) // 1000 * 1000)
    return ok(
        *("clock-newest", _SUBJECT),
        f"nothing in the schedule topics is dated in the future (the newest is of {age} ago); "
        "that this clock is not ahead, only --write-probe TOPIC can tell",
    )


def check_probe(settings: Settings, topic: str, timeout_seconds: float) -> Iterator[Finding]:
    """Write a message to ``topic``: whether that is allowed, and what time the broker has."""
    subject = f"probe of {topic}"
    try:
        probed = Probe(settings, timeout_seconds).write(topic)
    except KafkaError as problem:
        yield error("probe", subject, str(problem).rstrip("."), "Nothing could be fired either.")
        return
    how = "in a transaction" if settings.kms_delivery == "exactly-once" else "without a transaction"
    took_ms = probed.acknowledged_ms - probed.sent_ms
    yield ok("probe", subject, f"written {how} as offset {probed.offset}, {took_ms} ms")
    yield compared(topic, probed)


def compared(topic: str, probed: Probed) -> Finding:
    """What a written message says of this clock: as much as it is off at the very least."""
    if probed.broker_ms is None:
        return skipped(
            *("clock-probe", _SUBJECT, f"{topic} keeps its writers' timestamps, not the broker's"),
            "Probe a topic with message.timestamp.type=LogAppendTime.",
        )
    # Between sending and acknowledgement is all that is known.
    behind_ms = max(probed.broker_ms - probed.acknowledged_ms, 0)
    ahead_ms = max(probed.sent_ms - probed.broker_ms, 0)
    took_ms = probed.acknowledged_ms - probed.sent_ms
    if not behind_ms and not ahead_ms:
        return ok("clock-probe", _SUBJECT, f"the broker's, to within {took_ms} ms")
    way = f"{behind_ms} ms behind" if behind_ms else f"{ahead_ms} ms ahead of"
    found = f"at least {way} the broker's"
    most = max(behind_ms, ahead_ms)
    if most <= _SMALL_MS:
        return ok("clock-probe", _SUBJECT, found)
    effect = "Everything fires late" if behind_ms else "Everything fires early"
    return (error if most > _LARGE_MS else warning)(
        *("clock-probe", _SUBJECT, found), f"{effect} by as much, by the broker's clock. {_ADVICE}"
    )
