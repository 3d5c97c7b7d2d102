"""Topics: their ids, their configuration, made and deleted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import common_config
from kms.kafka.errors import kafka_errors, translated
from kms.kafka.refusals import Refusals
from kms.settings import Settings

_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 3.0


class TopicInfo(NamedTuple):
    """A topic that exists; ``id`` changes when it is deleted and made again."""

    name: str
    id: str
    partitions: int


class Admin:
    """The cluster's administration API; every call waits ``timeout_seconds`` for its answer.

    Raises RetriableKafkaError where the cluster is out of reach, KafkaError where it refuses.
    """

    def __init__(self, settings: Settings, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._refusals = Refusals()
        with kafka_errors("Creating the admin client"):
            self._client = AdminClient(common_config(settings) | {"error_cb": self._refusals})

    def cluster_id(self) -> str:
        """The id of the cluster, the same from every broker of it."""
        try:
            return str(self._client.list_topics(timeout=self._timeout_seconds).cluster_id)
        except ck.KafkaException as error:
            raise self._problem(error, "Asking for the cluster id") from error

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        """What there is under these names; None where there is no such topic."""
        asked = self._client.describe_topics(
            ck.TopicCollection(list(names)), request_timeout=self._timeout_seconds
        )
        found: dict[str, TopicInfo | None] = {}
        for name, future in asked.items():
            try:
                info = future.result()
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._problem(error, f"Looking up topic {name}") from error
                found[name] = None
            else:
                found[name] = TopicInfo(name, str(info.topic_id), len(info.partitions))
        return found

    def topics_patiently(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        """The same, but looks again for a while before it says that there is no such topic.

        One that was only just created is not known to every broker yet.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        names = list(names)
        while None in (found := self.topics(names)).values() and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        return found

    def config(self, topic: str) -> dict[str, str]:
        """The topic's configuration, defaults included."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        asked = self._client.describe_configs([resource], request_timeout=self._timeout_seconds)
        try:
            entries = asked[resource].result()
        except ck.KafkaException as error:
            doing = f"Reading the configuration of topic {topic}"
            raise self._problem(error, doing) from error
        return {name: str(entry.value) for name, entry in entries.items()}

    def create_topic(
        self, name: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        """Create a topic; False if it is there already. -1 stands for the broker's default."""
        new = NewTopic(
            name, num_partitions=partitions, replication_factor=replication, config=dict(config)
        )
        try:
            self._client.create_topics(
                [new],
                operation_timeout=self._timeout_seconds,
                request_timeout=self._timeout_seconds,
            )[name].result()
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._problem(error, f"Creating topic {name}") from error
        return True

    def delete_topic(self, name: str) -> bool:
        """Delete a topic with all its records; False if there is none."""
        try:
            self._client.delete_topics(
                [name],
                operation_timeout=self._timeout_seconds,
                request_timeout=self._timeout_seconds,
            )[name].result()
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            raise self._problem(error, f"Deleting topic {name}") from error
        return True

    def _problem(self, error: ck.KafkaException, doing: str) -> KafkaError:
        problem = translated(error.args[0], doing)
        self._client.poll(0)  # calls Refusals
        if isinstance(problem, RetriableKafkaError) and self._refusals.reason:
            return RetriableKafkaError(self._refusals.reason)  # not just that time is over
        return problem
