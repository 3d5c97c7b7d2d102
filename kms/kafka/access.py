"""Whether the cluster lets kms in, and what it lets it do: asked before anything starts.

A wrong password and a certificate that nobody trusts are an error here, and the end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator

import confluent_kafka as ck
from confluent_kafka.admin import AclOperation, AdminClient

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import Outages, common_config
from kms.kafka.errors import translated
from kms.kafka.refusals import Refusals
from kms.settings import Settings

_LOOK_SECONDS = 1.0  # how long a stop may have to wait
_REFUSED_SECONDS = 2.0  # all the time: another broker may still let us in
_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_ADVICE = "docs/security.md has the commands that allow it"

_log = logging.getLogger(__name__)


def check_access(settings: Settings, stopping: threading.Event) -> None:
    """Return once the cluster has answered and allows what is needed, or ``stopping`` is set.

    Waits for as long as the cluster is out of reach. Raises KafkaError where it lets nobody in
    with these credentials, or where an ACL is missing, which it names.
    """
    door = _Door(settings)
    said = False
    while not door.opens():
        if stopping.wait(_PAUSE_SECONDS):
            return
    while not stopping.is_set():
        try:
            missing = [
                *_missing_of_topics(door.client, settings),
                *_missing_of_group(door.client, settings),
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


def _missing_of_topics(client: AdminClient, settings: Settings) -> Iterator[str]:
    written = [] if settings.history_topic is None else [settings.history_topic]
    asked = client.describe_topics(
        ck.TopicCollection([*settings.topics, *written]),
        include_authorized_operations=True,
        request_timeout=_TIMEOUT_SECONDS,
    )
    for topic, future in asked.items():
        allowed: Collection[AclOperation] | None = ()
        try:
            allowed = future.result().authorized_operations
        except ck.KafkaException as error:
            code = error.args[0].code()
            if code == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # the consumer waits for it
            if code != ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise translated(error.args[0], f"Looking up topic {topic}") from error
        read = [] if topic in written else [AclOperation.READ]
        for operation in (*read, AclOperation.WRITE):
            if allowed is not None and operation not in allowed:
                yield f"{operation.name} on topic {topic}"


def _missing_of_group(client: AdminClient, settings: Settings) -> Iterator[str]:
    group = settings.consumer_group_id
    asked = client.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=_TIMEOUT_SECONDS
    )
    allowed: Collection[AclOperation] | None = ()
    try:
        allowed = asked[group].result().authorized_operations
    except ck.KafkaException as error:
        code = error.args[0].code()
        if code == ck.KafkaError.GROUP_ID_NOT_FOUND:
            return  # who may not see a group is told so, there or not
        if code != ck.KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise translated(error.args[0], f"Looking up group {group}") from error
    if allowed is not None and AclOperation.READ not in allowed:
        yield f"READ on group {group}"
