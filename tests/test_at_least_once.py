"""Delivery without transactions: what follows which acknowledgement."""

from __future__ import annotations

import pytest

from kms import at_least_once
from kms.assignment import Assignment
from kms.at_least_once import AtLeastOnce
from kms.delivery import Refused
from kms.errors import (
    KafkaError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.occurrences import Outcome
from kms.settings import Settings
from tests.delivery_scene import (
    BEFORE,
    HEADERS,
    SCHEDULES,
    Sent,
    assignment,
    fake_writers,
    job,
    made,
    target,
    tombstone,
)

__all__ = ["assignment", "fake_writers"]


def test_a_next_record_that_is_refused_is_told(assignment: Assignment) -> None:
    fires, writer = made(AtLeastOnce, assignment)
    error = writer.refuses["schedules"] = UndeliverableError("too large", permanent=True)
    bad = job()._replace(outcome=Outcome(again=HEADERS))
    assert fires.send([bad], BEFORE) == [Refused(bad, error)]


def test_the_tombstone_follows_the_acknowledgement(assignment: Assignment) -> None:
    fires, writer = made(AtLeastOnce, assignment)
    writer.flushes = [False, False, True]
    writer.refuses["huge"] = UndeliverableError("too large")
    writer.undelivered["forbidden"] = UndeliverableError("not authorised")
    good, huge, forbidden, again = job(), job(4, 8, "huge"), job(4, 9, "forbidden"), job(again=True)
    refused = fires.send([good, huge, forbidden, again], BEFORE)
    assert [it.job for it in refused] == [huge, forbidden]
    assert writer.calls == [
        target(good),
        target(forbidden),
        Sent("schedules", b"id7", b"encoded", HEADERS, 3),
        *["flush"] * 3,
        tombstone(good, SCHEDULES, "topic-id"),
        "flush",
    ]


def test_a_stop_ends_the_wait_for_acknowledgements(assignment: Assignment) -> None:
    fires, writer = made(AtLeastOnce, assignment)
    fires.start(lambda: True)
    writer.flushes = [False]
    with pytest.raises(RetriableKafkaError):
        fires.send([job()], BEFORE)
    assert writer.calls == ["start", target(job()), "flush"]


def test_a_target_that_timed_out_is_not_fired(assignment: Assignment) -> None:
    fires, writer = made(AtLeastOnce, assignment)
    writer.undelivered["target"] = KafkaError("Producing failed: timed out (_MSG_TIMED_OUT)")
    lost = job()
    assert [it.job for it in fires.send([lost], BEFORE)] == [lost]
    assert writer.calls == [target(lost), "flush"]


def test_the_copy_follows_the_acknowledgement(
    assignment: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    fires, writer = made(AtLeastOnce, assignment, Settings(history_topic="history"))
    writer.undelivered["forbidden"] = UndeliverableError("not authorised")
    good, forbidden = job(), job(4, 8, "forbidden")
    assert [it.job for it in fires.send([good, forbidden], BEFORE)] == [forbidden]
    assert [call if call == "flush" else call.topic for call in writer.calls] == [
        *("target", "forbidden", "flush", "history", "flush", "schedules", "flush")
    ]
    writer.undelivered["history"] = UndeliverableError("too large", permanent=True)
    writer.calls.clear()
    assert fires.send([good, job(5)], BEFORE) == []
    assert tombstone(good, SCHEDULES, "topic-id") in writer.calls
    assert "the history has no copy of it: too large" in caplog.text


def test_nothing_more_fires_before_the_copy_is_there(
    assignment: Assignment, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_least_once, "_AGAIN_SECONDS", 0.0)
    fires, writer = made(AtLeastOnce, assignment, Settings(history_topic="history"))
    writer.undelivered["history"] = UndeliverableError("is away", "unacknowledged")
    turns = iter([False, False, True])
    fires.start(lambda: next(turns))
    with pytest.raises(RetriableKafkaError, match="history"):
        fires.send([job(), job(5)], BEFORE)
    sent = [call.topic for call in writer.calls if isinstance(call, Sent)]
    assert sent == ["target", "target"] + ["history"] * 6  # and no tombstone
    assert caplog.text.count("nothing more fires before the history has its copy: is away") == 1
    del writer.undelivered["history"]
    writer.calls.clear()
    assert fires.send([job()], BEFORE) == []
    assert [call.topic for call in writer.calls if isinstance(call, Sent)] == [
        *("target", "history", "schedules")
    ]
