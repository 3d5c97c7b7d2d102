"""Whether the cluster lets kms in, and what it lets it do: asked before anything starts.

A wrong password and a certificate that nobody trusts are an error here, and the end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import Outages, common_config
from kms.kafka.examiner import Examiner, Operations
from kms.kafka.refusals import Refusals
from kms.settings import Settings

_LOOK_SECONDS = 1.0  # how long a stop may have to wait
_REFUSED_SECONDS = 2.0  # all the time: another broker may still let us in
_PAUSE_SECONDS = 0.2
_ADVICE = "docs/security.md has the commands that allow it"

_log = logging.getLogger(__name__)


def check_access(
    settings: Settings, stopping: threading.Event, waits: Callable[[], None] = lambda: None
) -> None:
    """Return once the cluster has answered and allows what is needed, or ``stopping`` is set.

    Waits for as long as the cluster is out of reach, and calls ``waits`` now and then. Raises
    KafkaError where it lets nobody in
    with these credentials, or where an ACL is missing, which it names.
    """
    door = _Door(settings)
    said = False
    while not door.opens():
        waits()
        if stopping.wait(_PAUSE_SECONDS):
            return
    examiner = Examiner(settings, client=door.client)
    while not stopping.is_set():
        waits()
        try:
            missing = [
                *_missing_of_topics(examiner, settings),
                *_missing_of_group(examiner, settings),
            ]
        except RetriableKafkaError as error:
            if not said:
                _log.warning("%s; trying again.", error)
            said = True
            stopping.wait(_PAUSE_SECONDS)
            continue
        if missing:
            raise KafkaError(f"Kafka does not allow kms {', '.join(missing)}: {_ADVICE}.")
        return


def not_allowed(allowed: Operations, wanted: Iterable[str], where: str) -> Iterator[str]:
    """What of the ``wanted`` operations no ACL allows; none where the brokers did not say."""
    for operation in wanted:
        if allowed is not None and operation not in allowed:
            yield f"{operation} on {where}"


class _Door:
    """A client's first connection."""

    def __init__(self, settings: Settings) -> None:
        self._refusals = Refusals(Outages())
        self.client = AdminClient(common_config(settings) | {"error_cb": self._refusals})

    def opens(self) -> bool:
        """Whether a broker answered within a second; raises KafkaError if all refuse us."""
        try:
            self.client.list_topics(timeout=_LOOK_SECONDS)
        except ck.KafkaException as error:
            self.client.poll(0)  # calls Refusals
            if self._refusals.seconds < _REFUSED_SECONDS:
                return False
            raise KafkaError(self._refusals.reason) from error
        return True


def _missing_of_topics(examiner: Examiner, settings: Settings) -> Iterator[str]:
    written = [] if settings.history_topic is None else [settings.history_topic]
    # The consumer waits for one that is not there.
    for topic in examiner.topics([*settings.topics, *written]).values():
        needed = ("WRITE",) if topic.name in written else ("READ", "WRITE")
        yield from not_allowed(topic.operations, needed, f"topic {topic.name}")


def _missing_of_group(examiner: Examiner, settings: Settings) -> Iterator[str]:
    group = settings.consumer_group_id
    yield from not_allowed(examiner.group(group).operations, ("READ",), f"group {group}")
