"""Claimed schedules as jobs: what is to be sent for each, and which can't be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kms import times
from kms.assignment import Assignment
from kms.delivery import Refused
from kms.due import Due
from kms.errors import BadHeaderError, UndeliverableError
from kms.gate import Gate, Verdict
from kms.kinds import EXPIRED, EXPIRES
from kms.messages import Job, schedule_of
from kms.occurrences import outcome
from kms.schedule import Schedule, is_stand_in
from kms.targets import Targets

_UNREAD = Schedule(0, "", b"", None)  # of a record that is none


class Sorted(NamedTuple):
    """What is claimed: to be sent, or not possible to send, or not to be sent now.

    ``held`` are to wait in the lane of their target topic, ``later`` where they are.
    """

    jobs: list[Job]
    refused: list[Refused]
    held: list[tuple[Due, str]]
    later: list[Due]


class Jobs:
    """Makes jobs of what is due; for the producer thread."""

    def __init__(
        self, assignment: Assignment, targets: Targets, gate: Gate, *, buries: bool
    ) -> None:
        self._assignment = assignment
        self._targets = targets
        self._gate = gate
        self._buries = buries  # what is expired as well

    def of(self, claimed: Sequence[Due]) -> Sorted:
        """Those that can be sent, as of now, and the others.

        Raises AbortTransactionError if a partition was given up, RetriableKafkaError if Kafka
        does not say which target topics there are.
        """
        found = Sorted([], [], [], [])
        now_ms, is_open = times.now_ms(), self._gate.is_open()
        for due in claimed:
            try:
                schedule = self._schedule_of(due)
                verdict = Verdict.FIRE
                if not (is_open or due.republish):
                    verdict = self._gate.judge(due, schedule.topic)
                if verdict is Verdict.HOLD:
                    found.held.append((due, schedule.topic))
                elif verdict is Verdict.LATER:
                    found.later.append(due)
                elif due.headers or verdict is Verdict.SKIP:
                    found.jobs.append(self._job(due, schedule, now_ms, verdict))
                else:
                    found.jobs.append(Job(due, schedule))
            except UndeliverableError as error:
                found.refused.append(Refused(Job(due, _UNREAD), error))
        fit, refused = self._without_problems(found.jobs, now_ms)
        return found._replace(jobs=fit, refused=found.refused + refused)

    def _without_problems(
        self, jobs: Sequence[Job], now_ms: int
    ) -> tuple[list[Job], list[Refused]]:
        problems = self._targets.problems_of_firing(
            {job.schedule.topic for job in jobs if job.is_sent}
        )
        fit, refused = [], []
        for job in jobs:
            problem = problems.get(job.schedule.topic) if job.is_sent else None
            if job.outcome.late == EXPIRED and self._buries:
                problem = _too_late(job, now_ms)
            if problem is None:
                fit.append(job)
            else:
                refused.append(Refused(job, problem))
        return fit, refused

    def _schedule_of(self, due: Due) -> Schedule:
        if due.republish:
            return _UNREAD  # it is written again as it is, whatever it is
        if is_stand_in(due.id, due.offset):
            raise UndeliverableError("it has no key", "null-id", permanent=True)
        return schedule_of(self._assignment, due)

    def _job(self, due: Due, schedule: Schedule, now_ms: int, verdict: Verdict) -> Job:
        """What its headers make of it."""
        if due.republish:
            return Job(due, schedule)
        # One that could not be read when it was folded stands there as due long ago.
        skip, due_ms = verdict is Verdict.SKIP, max(due.due_ms, schedule.due_ms)
        found = outcome(due.headers, due_ms, schedule.due_ms, now_ms, skip=skip)
        if found.again is not None and schedule.key == due.id:
            # Its message would be an update of itself, and no transaction would ever commit.
            topic = self._assignment.owned(due).where.topic
            if schedule.topic == topic:
                text = f"it recurs, and its message would go to {topic} under its own id"
                raise UndeliverableError(text, BadHeaderError.reason, permanent=True)
        return Job(due, schedule, outcome=found)


def _too_late(job: Job, now_ms: int) -> UndeliverableError:
    late = times.duration_text(max(now_ms - job.due.due_ms, 0))
    text = f"it expired: it was due {late} ago, and {EXPIRES} allows less"
    return UndeliverableError(text, EXPIRED, permanent=True)
