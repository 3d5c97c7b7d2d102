"""What becomes of a claimed schedule, by its record and by when it is due."""

from __future__ import annotations

from kms import times
from kms.assignment import Assignment, OwnedPartition
from kms.due import Due
from kms.formats import AVRO, USUAL
from kms.gate import Gate
from kms.jobs import Jobs, Sorted
from kms.kafka import TopicPartition
from kms.schedule import Header, Schedule
from kms.targets import Targets


def sorted_of(due_ms: int, folded_ms: int, *headers: Header) -> Sorted:
    """Of one schedule, which stands in the cache as due at ``folded_ms``."""
    where = TopicPartition("schedules", 0)
    assignment = Assignment(None, {1: OwnedPartition(1, where, "topic-id", 10, USUAL)})
    targets = Targets(lambda _topic: True, lambda: None)
    value = AVRO.encode_value(Schedule(due_ms, "target", b"k", b"v"))
    due = Due(1, b"a", 5, folded_ms, value, headers)
    return Jobs(assignment, targets, Gate(), buries=False).of([due])


def test_what_was_folded_without_its_schema_expires_by_its_own_time() -> None:
    """It stands there as due in 1970, which would be too late for whatever it asks for."""
    expires = ("kms-expires", b"5m")
    (job,) = sorted_of(times.now_ms() - 1_000, 0, expires).jobs
    assert job.is_sent
    (job,) = sorted_of(times.now_ms() - 600_000, 0, expires).jobs
    assert (job.is_sent, job.outcome.late) == (False, "expired")


def test_what_was_folded_without_its_schema_waits_for_its_own_time() -> None:
    found = sorted_of(times.now_ms() + 60_000, 0)
    assert [it.error.reason for it in found.refused] == ["not-due"]
    assert found.jobs == []
