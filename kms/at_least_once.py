"""How a batch is fired without transactions: at least once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from kms.assignment import Assignment, Snapshot
from kms.delivery import Refused, each_once, undelivered
from kms.errors import RetriableKafkaError, UndeliverableError
from kms.kafka import PlainWriter
from kms.messages import (
    Job,
    check_headers,
    produce_again,
    produce_end,
    produce_history,
    produce_message,
)
from kms.repeats import Repeats, more
from kms.settings import Settings

_FLUSH_SECONDS = 1.0
_AGAIN_SECONDS = 0.5

_log = logging.getLogger(__name__)


class AtLeastOnce:
    """The tombstone follows the target's acknowledgement; no transactions, no fencing.

    For clusters whose ACLs allow no transactions: what is in flight when the process is killed
    fires again.
    """

    def __init__(self, settings: Settings, assignment: Assignment) -> None:
        self._assignment = assignment
        self._writer = PlainWriter(settings)
        self._give_up: Callable[[], bool] = lambda: False
        self._alone = False
        self._history = settings.history_topic
        self._repeats = Repeats()

    def start(self, give_up: Callable[[], bool]) -> None:
        self._give_up = give_up
        self._writer.start(give_up)

    def exists(self, topic: str) -> bool:
        return self._writer.exists(topic)

    def refused(self) -> list[Refused]:
        # Whatever the reason, timed out included: what was not acknowledged was not fired.
        return each_once(
            Refused(
                job,
                error if isinstance(error, UndeliverableError) else UndeliverableError(str(error)),
                self._alone,
            )
            for job, error, _ in undelivered(self._writer)
        )

    def send(self, jobs: Sequence[Job], before: Snapshot) -> list[Refused]:  # noqa: ARG002
        self._alone = len(jobs) == 1
        refused = self._acknowledged(jobs, self._produce)
        unsent = {id(each.job) for each in refused}
        fired = [job for job in jobs if id(job) not in unsent and not job.due.republish]
        if self._history is not None:
            # Behind the message: what was refused is not to be in the history.
            self._copy(fired)
        return refused + self._acknowledged(fired, self._produce_end) if fired else refused

    def _copy(self, fired: Sequence[Job]) -> None:
        """Write the copies; waits until they are there, but for those that the topic never takes.

        Raises RetriableKafkaError if told to give up: the messages then come again.
        """
        while fired:
            failed = self._acknowledged(fired, self._produce_history)
            if len(fired) > 1:
                # The broker refuses as a whole what comes in one request: each by itself tells.
                alone = [each.job for each in failed if each.error.permanent]
                failed = [each for each in failed if not each.error.permanent]
                for job in alone:
                    failed += self._acknowledged([job], self._produce_history)
            for each in failed:
                self._say_without_a_copy(each)
            fired = [each.job for each in failed if not each.error.permanent]
            if fired:
                if self._give_up():
                    raise RetriableKafkaError("The history topic did not take all copies in time")
                time.sleep(_AGAIN_SECONDS)

    def _say_without_a_copy(self, refused: Refused) -> None:
        job, error, _ = refused
        unsaid = self._repeats.unsaid((error.reason, error.permanent))
        if unsaid is None:
            return
        what = (
            "the history has no copy of it"
            if error.permanent
            else "nothing more fires before the history has its copy"
        )
        where = self._assignment.owned(job.due).where
        _log.error(
            "Fired %r (%s offset %d), and %s: %s%s",
            *(job.due.id, where, job.due.offset, what, error, more(unsaid)),
        )

    def _acknowledged(self, jobs: Sequence[Job], produce: Callable[[Job], object]) -> list[Refused]:
        """Produce for each and wait for Kafka; answers whose was refused, at once or later."""
        refused = []
        for job in jobs:
            try:
                produce(job)
            except UndeliverableError as error:
                refused.append(Refused(job, error))
        while not self._writer.flush(_FLUSH_SECONDS):
            if self._give_up():
                raise RetriableKafkaError("Kafka did not acknowledge all messages in time")
        return each_once([*refused, *self.refused()])

    def _produce(self, job: Job) -> None:
        if job.due.republish:
            produce_again(self._writer, self._assignment, job)
        else:
            check_headers(job)
            produce_message(self._writer, job)

    def _produce_history(self, job: Job) -> None:
        produce_history(self._writer, self._assignment, job, self._history)

    def _produce_end(self, job: Job) -> None:
        produce_end(self._writer, self._assignment, job)
