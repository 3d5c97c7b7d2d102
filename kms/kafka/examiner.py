"""What the cluster says of itself and allows: topics, settings, groups. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from kms.errors import RetriableKafkaError
from kms.kafka.config import common_config
from kms.kafka.errors import translated
from kms.kafka.refusals import Refusals
from kms.kafka.values import TopicPartition
from kms.settings import Settings

_DENIED = {
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
    ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_MISSING = {ck.KafkaError.UNKNOWN_TOPIC_OR_PART, ck.KafkaError.GROUP_ID_NOT_FOUND}

# Names of operations as in the ACLs; None where the brokers did not say.
Operations = frozenset[str] | None


class TopicView(NamedTuple):
    """A topic: its id, how it is spread, and what we may do with it.

    ``id`` is None if it does not exist, or if we may not see it: then it ``is_hidden``.
    ``replicas`` and ``in_sync`` have a number for each partition; ``leaderless`` partitions can't
    be used.
    """

    name: str
    id: str | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    leaderless: tuple[int, ...]
    operations: Operations

    @property
    def is_hidden(self) -> bool:
        return self.id is None and self.operations is not None


class Member(NamedTuple):
    """A member of a group; ``instance_id`` is its static identity, if it has one."""

    client_id: str
    host: str
    instance_id: str | None
    partitions: tuple[TopicPartition, ...]


class GroupView(NamedTuple):
    """A consumer group: its state in Kafka's words, who is in it, and what we may do with it."""

    state: str
    members: tuple[Member, ...]
    operations: Operations


class Examiner:
    """Read-only look-ups; each waits for its answer at most ``timeout_seconds``.

    Raises RetriableKafkaError where the cluster is out of reach, KafkaError where it refuses.
    """

    def __init__(
        self, settings: Settings, timeout_seconds: float = 10.0, client: AdminClient | None = None
    ) -> None:
        self._timeout = timeout_seconds
        self._client = client or AdminClient(common_config(settings) | {"error_cb": Refusals()})

    def cluster_operations(self) -> Operations:
        """What we may do with the cluster itself."""
        future = self._client.describe_cluster(
            include_authorized_operations=True, request_timeout=self._timeout
        )
        return _operations(self._result(future, "Looking up the cluster"))

    def topics(self, names: Iterable[str]) -> dict[str, TopicView]:
        """These topics, also those that are not there or may not be seen."""
        names = list(names)
        if not names:
            return {}
        asked = self._client.describe_topics(
            ck.TopicCollection(names),
            include_authorized_operations=True,
            request_timeout=self._timeout,
        )
        return {name: self._topic(name, future) for name, future in asked.items()}

    def group(self, name: str) -> GroupView:
        """A consumer group; one that is not there is DEAD."""
        asked = self._client.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=self._timeout
        )
        found = self._result(asked[name], f"Looking up group {name}")
        if found is None:
            return GroupView("DEAD", (), None)  # who may not see a group is told so, there or not
        if found is False:
            return GroupView("UNKNOWN", (), frozenset())
        members = tuple(
            Member(
                str(each.client_id),
                str(each.host).removeprefix("/"),
                each.group_instance_id,
                tuple(
                    TopicPartition(where.topic, where.partition)
                    for where in each.assignment.topic_partitions
                ),
            )
            for each in found.members
        )
        return GroupView(found.state.name, members, _operations(found))

    def topic_configs(self, names: Collection[str]) -> dict[str, dict[str, str] | None]:
        """The configuration of topics, defaults included; None where we may not see it."""
        return self._configs(ResourceType.TOPIC, names)

    def broker_config(self, broker: int) -> dict[str, str] | None:
        """The configuration of a broker; None where we may not see it."""
        return self._configs(ResourceType.BROKER, [str(broker)])[str(broker)]

    def newest_ms(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The latest timestamp in each partition that has one: a writer's, or the broker's."""
        spec = OffsetSpec.max_timestamp()
        asked = self._client.list_offsets(
            {ck.TopicPartition(*where): spec for where in partitions},
            request_timeout=self._timeout,
        )
        found = {
            TopicPartition(each.topic, each.partition): self._result(
                future, f"Asking for the latest timestamp of {each.topic}/{each.partition}"
            )
            for each, future in asked.items()
        }
        return {where: it.timestamp for where, it in found.items() if it and it.timestamp > 0}

    def _topic(self, name: str, future: Any) -> TopicView:
        found = self._result(future, f"Looking up topic {name}")
        if not found:
            may_not = frozenset[str]() if found is False else None
            return TopicView(name, None, (), (), (), may_not)
        return TopicView(
            name,
            str(found.topic_id),
            tuple(len(each.replicas) for each in found.partitions),
            tuple(len(each.isr) for each in found.partitions),
            tuple(
                each.id for each in found.partitions if each.leader is None or each.leader.id < 0
            ),
            _operations(found),
        )

    def _configs(
        self, kind: ResourceType, names: Collection[str]
    ) -> dict[str, dict[str, str] | None]:
        # One request each: brokers answer only for themselves.
        resources = [ConfigResource(kind, name) for name in names]
        if not resources:
            return {}
        asked = self._client.describe_configs(resources, request_timeout=self._timeout)
        return {
            resource.name: _config(
                self._result(asked[resource], f"Reading the configuration of {resource.name}")
            )
            for resource in resources
        }

    def _result(self, future: Any, doing: str) -> Any:
        """The answer; None if there is no such thing, False if we may not see it."""
        try:
            return future.result(self._timeout + 1)
        except ck.KafkaException as error:
            code = error.args[0].code()
            if code in _MISSING:
                return None
            if code in _DENIED:
                return False
            raise translated(error.args[0], doing) from error
        except TimeoutError as error:
            raise RetriableKafkaError(f"{doing} brought no answer") from error


def _config(entries: Mapping[str, Any] | bool | None) -> dict[str, str] | None:
    if not isinstance(entries, Mapping):
        return None
    return {name: str(entry.value) for name, entry in entries.items()}


def _operations(found: Any) -> Operations:
    if not found:
        return frozenset() if found is False else None
    told = found.authorized_operations
    return None if told is None else frozenset(each.name for each in told)
