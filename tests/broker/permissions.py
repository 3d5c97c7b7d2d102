"""Taking the permission to write to a topic away for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.broker.cluster import Cluster

# A broker with an authorizer on which everybody may do everything that no ACL is about.
OPEN = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@contextmanager
def forbidden(cluster: Cluster, topic: str) -> Iterator[None]:
    """Nobody may write to the topic; reading it goes on."""
    forbid(cluster, topic)
    try:
        yield
    finally:
        permit(cluster, topic)


def forbid(cluster: Cluster, topic: str) -> None:
    """Take the permission away."""
    made = [
        _acl(topic, AclOperation.ALL, AclPermissionType.ALLOW),
        _acl(topic, AclOperation.WRITE, AclPermissionType.DENY),
    ]
    for future in cluster.admin.create_acls(made).values():
        future.result()


def permit(cluster: Cluster, topic: str) -> None:
    """Give it back."""
    every = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        None,  # type: ignore[arg-type] # any principal
        None,  # type: ignore[arg-type] # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for future in cluster.admin.delete_acls([every]).values():
        future.result()


def _acl(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:*",
        "*",
        operation,
        permission,
    )
